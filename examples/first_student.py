# %% [markdown]
# # A student in a notebook
#
# This notebook trains a teacher with adapters, absorbs it, exports the student and asks it for
# answers. Texts and model come from packages, so nothing is downloaded. Run it from the root of
# the repository.

# %%
from adapter_distill import absorb, benchmark, export, load, load_teacher, run
from pipeline.config import BenchmarkConfig

found = run("configs/minute.toml")
found.passed

# %% [markdown]
# The report holds every number. A measured number has an interval.

# %%
evaluation = found.report.evaluation
for name in ("plain", "teacher", "student"):
    measured = getattr(evaluation, name)
    low, high = measured.intervals["accuracy"]
    print(f"{name:8} accuracy {measured.values['accuracy']:.3f} ({low:.3f} to {high:.3f})")

# %% [markdown]
# The run's student is ready to answer, without torch.

# %%
model = found.load()
for answer in model.predict(["a moving, beautifully shot film", "two hours I want back"]):
    print(answer["label"], round(answer["score"], 2))

# %% [markdown]
# `absorb` makes another student of this teacher from other texts, without training.

# %%
teacher = load_teacher(found.folder / "finetune")
texts = [
    f"the {noun} is {word}"
    for noun in ("film", "plot", "cast")
    for word in (
        "good",
        "dull",
        "a joy",
        "far too long",
        "a mess",
        "well acted",
        "forgettable",
        "fresh",
    )
]
student = absorb(teacher, texts, out="build/notebook/student")
sorted(student.fidelity)

# %% [markdown]
# A bundle is a folder that `predict`, `serve` and other tools read.

# %%
bundle = export(student, out="build/notebook/bundle")
load(bundle).labels

# %% [markdown]
# `benchmark` compares the cost of a call with that of the run's student. Equal graphs cost the
# same.

# %%
quick = BenchmarkConfig(
    batch_sizes=(1,),
    lengths=(16,),
    max_blocks=8,
    seconds_per_cell=10,
    ladder_blocks=0,
    seconds_per_file=0.2,
)
facts = benchmark(bundle, found.folder / "student", config=quick)
print(facts.latency[0].cell, "of", len(facts.graphs), "files")
