"""Python functions as callbacks of the C library: no exception is lost, Ctrl-C included."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from typing import Any


class Callback:
    """Hands the events of one call to `function`; used as ``with Callback(kind, function) as c: call(..., c.pointer)``.

    A true result or an exception of `function` cancels the call. The exception is raised again when the call has
    returned, in place of the Cancelled that the library reports.

    What C calls is the `send` method of a generator, not a Python function, because of Ctrl-C: the interpreter delivers
    a pending KeyboardInterrupt on entry to the next Python function, before its first `try`, and ctypes would print and
    drop it. A generator is resumed inside its `try`. `send` takes a single argument, so the callback types leave out
    the header's last one, `void *user`; C's calling conventions allow a callee to ignore trailing arguments.
    """

    def __init__(self, kind: Any, function: Callable[[Any], object]) -> None:
        self._error: BaseException | None = None
        self._generator = self._answers(function)
        next(self._generator)
        self.pointer = kind(self._generator.send)

    def _answers(self, function: Callable[[Any], object]) -> Generator[int, Any, None]:
        answer = 0
        while True:
            try:
                event = yield answer
                answer = 1 if self._error is not None or function(event.contents) else 0
            except GeneratorExit:
                return
            except BaseException as error:
                self._error, answer = error, 1

    def __enter__(self) -> Callback:
        return self

    def __exit__(self, *_: object) -> None:
        self._generator.close()
        if self._error is not None:
            error, self._error = self._error, None
            raise error from None


class HeldInterrupt:
    """Within it Ctrl-C raises nothing: it sets `came`, for whoever has something to finish first. What came late is
    raised at the end. Where the program has a handler of its own, or in another thread, nothing changes."""

    def __enter__(self) -> HeldInterrupt:
        self.came = False
        self._holds = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if self._holds:
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._holds:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self.came and kind is None:
            raise KeyboardInterrupt

    def _note(self, *_: object) -> None:
        self.came = True
