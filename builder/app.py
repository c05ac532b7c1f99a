"""The declaration: a class whose attributes say what an app needs, and the mark on the methods it serves.

Nothing is imported but `__future__`, so that importing this file costs well under a millisecond; Python 3.8
and up.
"""

from __future__ import annotations

# Type checkers take a variable of this name for typing's; importing typing would cost more than this file
# does.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar, TypeVar

    F = TypeVar("F", bound="Callable[..., Any]")

#: Settings that decide what is built.
BUILD_SETTINGS = (
    "requirements",
    "requirements_context_dir",
    "machine_type",
    "num_gpus",
    "cuda",
    "local_python_modules",
    "app_files",
    "app_files_ignore",
    "app_files_context_dir",
    "python_version",
    "system_packages",
    "system_packages_auto",
    "build_packages",
    "secrets",
)

#: Settings that only a platform reads: kept as labels, without effect on the build.
PLATFORM_SETTINGS = (
    "app_auth",
    "concurrency_buffer",
    "concurrency_buffer_perc",
    "data_mounts",
    "exposed_port",
    "keep_alive",
    "max_concurrency",
    "max_multiplexing",
    "metrics_port",
    "min_concurrency",
    "private_logs",
    "regions",
    "request_start_timeout",
    "request_timeout",
    "retry_config",
    "scaling_delay",
    "skip_retry_conditions",
    "startup_timeout",
    "termination_grace_period_seconds",
)

#: The attribute that `endpoint` leaves on a method: its URL path.
ENDPOINT_MARK = "__builder_endpoint__"


class App:
    """An app: derive from it, say what it needs in class attributes, serve methods marked with `endpoint`.

    Every setting can also be given as a class keyword: `class Upscale(App, python_version="3.12")`.
    Attributes are inherited like any other. `setup` runs once before anything is served, `teardown` when the
    app is stopped.

    Attributes:
        app_name: the app's name; default is the class name in kebab-case.
        requirements: pip command-line words, one an item; a list of lists is several install steps in order.
        requirements_context_dir: base of local paths in `requirements`; default is the app file's folder.
        machine_type: where the app runs, or several in order of preference.
        num_gpus: how many GPUs it needs.
        cuda: "runtime" (what packages need; the default where a machine has a GPU), "devel" (the compiler and headers
            too) or "none".
        local_python_modules: local modules to ship, by import name.
        app_files: files and folders to ship to /app.
        app_files_ignore: regular expressions of what to leave out of `app_files`.
        app_files_context_dir: base of `app_files`; default is the app file's folder.
        python_version: such as "3.11"; default is that of the interpreter that loads the file.
        system_packages: Debian packages to add to the image; builds from source have them too.
        system_packages_auto: whether Debian packages are added for libraries that an import would lack.
        build_packages: Debian packages that only builds from source need, such as "cmake" or "rustc".
        secrets: names of environment variables the app gets at run time.
    """

    app_name: ClassVar[str | None] = None
    requirements: ClassVar[list[str] | list[list[str]]] = []
    requirements_context_dir: ClassVar[str | None] = None
    machine_type: ClassVar[str | list[str]] = "S"
    num_gpus: ClassVar[int | None] = None
    cuda: ClassVar[str | None] = None
    local_python_modules: ClassVar[list[str]] = []
    app_files: ClassVar[list[str]] = []
    app_files_ignore: ClassVar[list[str]] = [r"\.pyc$", r"__pycache__/", r"\.git/", r"\.DS_Store$"]
    app_files_context_dir: ClassVar[str | None] = None
    python_version: ClassVar[str | None] = None
    system_packages: ClassVar[list[str]] = []
    system_packages_auto: ClassVar[bool] = True
    build_packages: ClassVar[list[str]] = []
    secrets: ClassVar[list[str] | None] = None

    def __init_subclass__(cls, *, name: str | None = None, **settings: object) -> None:
        """Turn class keywords into class attributes.

        Args:
            name: same as the attribute `app_name`.
            settings: any setting by its name.

        Raises:
            TypeError: a keyword is not a setting.
        """
        super().__init_subclass__()
        if name is not None:
            settings["app_name"] = name
        for key, value in settings.items():
            if key != "app_name" and key not in BUILD_SETTINGS and key not in PLATFORM_SETTINGS:
                from difflib import get_close_matches

                near = get_close_matches(key, BUILD_SETTINGS + PLATFORM_SETTINGS, 1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise TypeError(f"{cls.__name__}: an App has no setting {key!r}{hint}")
            setattr(cls, key, value)

    def setup(self) -> Any:  # noqa: ANN401 - None, or an awaitable of it, in what derives
        """Load what the endpoints need; may be `async`."""

    def teardown(self) -> Any:  # noqa: ANN401 - see setup
        """Release it again; may be `async`."""


def endpoint(path: str) -> Callable[[F], F]:
    """Mark a method to be served as POST requests to `path`.

    Args:
        path: the URL path, with its leading slash: `@endpoint("/")`.

    Raises:
        TypeError: used without a path.
        ValueError: the path has no leading slash, or the method has a path already.
    """
    if not isinstance(path, str):
        raise TypeError('endpoint takes a URL path: @endpoint("/")')
    if not path.startswith("/"):
        raise ValueError(f'an endpoint\'s path begins with a slash: @endpoint("/{path}")')

    def mark(method: F) -> F:
        if hasattr(method, ENDPOINT_MARK):
            raise ValueError(f"{method.__name__} has an endpoint already, {getattr(method, ENDPOINT_MARK)}")
        setattr(method, ENDPOINT_MARK, path)
        return method

    return mark
