"""Every damage of a bundle ends in one clear error of `predict`, or does no harm."""

from support.damage import damages, problems

from pipeline.standalone.predict import predict


def test_damaged_bundle_is_refused_or_harmless(write_words_bundle, tmp_path):
    folder = write_words_bundle(tmp_path / "student")
    (folder / "onnx" / "runtime.json").write_text('{"file": "model.onnx", "session_config": {}}')
    chosen = (each for seed in range(8) for each in damages(folder, seed=seed))
    chosen = (each for each in chosen if "'vocab'" not in each[0])

    found = problems(
        folder, tmp_path, lambda copy: predict(copy, ["good", ""]), chosen=chosen, every=7
    )
    assert found == []
