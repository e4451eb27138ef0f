import inspect
from pathlib import Path

import pytest
import typer
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from typer.testing import CliRunner

from flows.cli.main import app
from flows.cli.models import promote_command, rollback
from flows.cli.options import help_of, with_options_of
from flows.cli.retention import gc_command
from flows.cli.serving import serve_command
from pipeline.config import PromotionRule, RegistryPlace, ReleaseConfig
from pipeline.errors import InputError
from pipeline.release.forms import PromotionForm, RollbackForm
from pipeline.retention.settings import Retention
from pipeline.serving.settings import ServeSettings

RUNNER = CliRunner(env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})
COMMANDS = [
    (serve_command, ServeSettings),
    (promote_command, PromotionForm),
    (rollback, RollbackForm),
    (gc_command, Retention),
]
SERVE_OPTIONS = (
    *("--bundle", "--host", "--port", "--grpc-port", "--fd", "--token", "--threads"),
    *("--batching", "--no-batching", "--max-queue", "--deadline-ms", "--max-body", "--max-texts"),
    *("--poll", "--drain", "--registry", "--runs-dir"),
    *("--max-batch-texts", "--max-batch-tokens", "--max-characters"),
)


class Settings(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str
    """A ``name``."""
    number: int = Field(default=3, ge=1, le=9)
    """A number."""
    ratio: float = Field(default=0.5, gt=0)
    """A ratio."""
    secret: SecretStr | None = None
    """A secret."""
    folders: dict[str, Path] = Field(default_factory=dict)
    """Folders."""
    others: tuple[str, ...] = ()
    """Others."""


@pytest.fixture
def call():
    """``call(*arguments)``: the settings that a command was given, or what it raised."""
    given = []

    @with_options_of(
        Settings,
        name=typer.Argument(),
        folders=typer.Option("--folder"),
        secret=typer.Option(envvar="TEST_SECRET"),
    )
    def command(settings: Settings) -> None:
        """Do something."""
        given.append(settings)

    own = typer.Typer()
    own.command()(command)

    def call(*arguments, **environment):
        result = RUNNER.invoke(own, arguments, env=environment)
        if isinstance(result.exception, InputError):
            raise result.exception
        return given.pop() if given else result.output

    return call


def test_fields_that_are_not_given_keep_their_defaults(call):
    assert call("me") == Settings(name="me")


def test_values_are_those_of_the_options(call):
    found = call("me", "--number", "5", "--folder", "a=b/c", "--folder", "d=e", "--others", "x")

    assert found == Settings(
        name="me", number=5, folders={"a": Path("b/c"), "d": Path("e")}, others=("x",)
    )


def test_secret_may_come_from_the_environment(call):
    found = call("me", TEST_SECRET="hidden")

    assert found.secret.get_secret_value() == "hidden"
    assert call("me", TEST_SECRET="").secret is None


def test_bounds_are_those_of_the_field(call):
    assert "Invalid value for '--number'" in call("me", "--number", "10")
    with pytest.raises(InputError, match=r"--ratio: .*greater than 0, found 0\.0"):
        call("me", "--ratio", "0")


def test_pair_that_is_none_is_refused(call):
    with pytest.raises(InputError, match="--folder expects NAME=FOLDER, found 'a'"):
        call("me", "--folder", "a")


def test_help_is_the_docstring_without_markup(call):
    assert help_of(Settings, "name") == "A name."
    assert "A ratio." in call("--help")


@pytest.mark.parametrize(("command", "settings"), COMMANDS)
def test_every_field_has_an_option_with_its_default(command, settings):
    parameters = inspect.signature(command).parameters

    assert parameters.keys() == settings.model_fields.keys()
    for name, field in settings.model_fields.items():
        default = parameters[name].default
        if field.is_required():
            assert default is inspect.Parameter.empty
        else:
            assert (default or None) == (field.get_default(call_default_factory=True) or None)


@pytest.mark.parametrize("settings", [ServeSettings, PromotionForm, RollbackForm])
def test_every_option_has_a_help(settings):
    assert all(help_of(settings, name) for name in settings.model_fields)


def test_rule_and_place_are_the_same_wherever_they_are_given():
    for settings in (PromotionForm, ReleaseConfig):
        assert issubclass(settings, PromotionRule)
    for settings in (PromotionForm, RollbackForm, ServeSettings):
        assert issubclass(settings, RegistryPlace)


def test_help_of_serve_lists_every_option():
    said = RUNNER.invoke(app, ["serve", "--help"]).output

    assert [option for option in SERVE_OPTIONS if option not in said] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve", "x", "--deadline-ms", "0"], "--deadline-ms: Input should be greater than 0"),
        (["serve", "--bundle", "x"], "--bundle expects NAME=FOLDER"),
        (["serve"], "Nothing to serve"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_a_server_starts(cli, arguments, message):
    code, _, said = cli(*arguments)

    assert code == 2
    assert message in said
