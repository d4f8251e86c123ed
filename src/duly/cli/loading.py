"""Finding the application in a user's code: `module:attr`, `module`, or `file.py[:attr]`.

A file's folder, or the working directory for a module, goes on the import path. Whatever the
user's code raises is told with its file, its line and the line's text, in their frames only; the
import machinery and Duly's own frames are of no use to them. Nothing is imported by guess.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from duly.app import Duly
from duly.cli.faults import FAILED, MISCONFIGURED, USAGE, Fault
from duly.errors import DulyError, InvalidValue, nearest

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def load_app(spec: str) -> Duly:
    """Import the code that `spec` names and return its application; raise `Fault`."""
    place, attr = _split(spec)
    if _is_file(place):
        path = Path(place)
        if not path.exists():
            raise Fault(f"there is no file {place}", USAGE)
        module = _importing(place, lambda: _import_file(path))
    else:
        if not all(part.isidentifier() for part in place.split(".")):
            what = InvalidValue.expected("the application", "module:attr, module or file.py", spec)
            raise Fault(str(what), USAGE)
        _on_path(Path.cwd())
        module = _importing(place, lambda: importlib.import_module(place))
    return _named(module, place, attr) if attr else _only(module, place)


def _split(spec: str) -> tuple[str, str]:
    place, colon, attr = spec.rpartition(":")
    if colon and attr.replace(".", "").isidentifier():
        return place, attr
    return spec, ""


def _is_file(place: str) -> bool:
    return place.endswith(".py") or os.sep in place or Path(place).is_file()


def _on_path(folder: Path) -> None:
    text = str(folder.resolve())
    if text not in sys.path:
        sys.path.insert(0, text)


def _import_file(path: Path) -> ModuleType:
    if path.is_dir():
        raise Fault(f"{path} is a folder; name a file, or a module as package.module", USAGE)
    _on_path(path.parent)
    # A file may be called like a module that is loaded already: it must not take its place.
    name = path.stem if path.stem not in sys.modules else f"_duly_app_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise Fault(f"expected {path} to be a Python file (.py)", USAGE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _importing(place: str, load: Callable[[], ModuleType]) -> ModuleType:
    try:
        return load()
    except Fault:
        raise
    except SyntaxError as error:
        raise Fault(_syntax(error), MISCONFIGURED) from error
    except ModuleNotFoundError as error:
        if error.name and (place == error.name or place.startswith(error.name + ".")):
            raise Fault(_no_module(place, error.name), USAGE) from error
        raise Fault(_raised(f"importing {place}", error), MISCONFIGURED) from error
    except SystemExit as error:
        said = f"importing {place} ended the process (exit {error.code})"
        hint = 'put what runs behind if __name__ == "__main__":'
        raise Fault(f"{said}; {hint}", MISCONFIGURED) from error
    except OSError as error:
        if error.filename and Path(str(error.filename)) == Path(place):
            raise Fault(f"{place} cannot be read: {error.strerror}", USAGE) from error
        raise Fault(_raised(f"importing {place}", error), MISCONFIGURED) from error
    except Exception as error:
        raise Fault(_raised(f"importing {place}", error), MISCONFIGURED) from error


def _no_module(place: str, missing: str) -> str:
    hint = f"; for a file write {place}.py" if Path(place + ".py").exists() else ""
    return f"no module is called {missing!r}, seen from {Path.cwd()}{hint}"


def _syntax(error: SyntaxError) -> str:
    head = f"{error.filename}:{error.lineno}: {type(error).__name__}: {error.msg}"
    if not error.text:
        return head
    line = error.text.rstrip("\n")
    bare = line.lstrip()
    column = max(0, (error.offset or 1) - 1 - (len(line) - len(bare)))
    return f"{head}\n    {bare}\n    {' ' * column}^"


def in_their_frames(what: str, error: Exception) -> Exception:
    """Return what to tell of an error at work: of the user's code, a `Fault` with their frames."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, DulyError) or not frames or not _is_theirs(frames[-1].filename):
        return error
    return Fault(_raised(what, error), FAILED)


def _raised(place: str, error: BaseException) -> str:
    frames = [one for one in traceback.extract_tb(error.__traceback__) if _is_theirs(one.filename)]
    if isinstance(error, DulyError) and frames:
        last = frames[-1]
        return f"{last.filename}:{last.lineno}: {error}\n    {last.line}"
    said = "".join(traceback.format_exception_only(error)).rstrip()
    shown = "".join(traceback.format_list(frames)).rstrip("\n")
    return f"{place} failed: {said}" + (f"\n{shown}" if shown else "")


def _is_theirs(filename: str) -> bool:
    return not filename.startswith((_OURS, "<")) and (
        os.path.dirname(importlib.__file__ or "") != os.path.dirname(filename)
    )


def _named(module: ModuleType, place: str, attr: str) -> Duly:
    found: object = module
    for part in attr.split("."):
        if not hasattr(found, part):
            known = [name for name, value in vars(module).items() if isinstance(value, Duly)]
            raise Fault(f"{place} has no {attr!r}{nearest(attr, known)}", MISCONFIGURED)
        found = getattr(found, part)
    if not isinstance(found, Duly):
        kind = type(found).__name__
        raise Fault(f"expected {place}:{attr} to be a Duly app, got a {kind}", MISCONFIGURED)
    return found


def _only(module: ModuleType, place: str) -> Duly:
    found: dict[int, tuple[str, Duly]] = {}
    for name, value in vars(module).items():
        if isinstance(value, Duly):
            found.setdefault(id(value), (name, value))
    if len(found) == 1:
        return next(iter(found.values()))[1]
    if not found:
        raise Fault(
            f"no Duly app was found in {place}: expected a line such as app = Duly()",
            MISCONFIGURED,
        )
    names = sorted(name for name, _ in found.values())
    raise Fault(
        f"several Duly apps are in {place}: {', '.join(names)}; name one as {place}:{names[0]}",
        MISCONFIGURED,
    )
