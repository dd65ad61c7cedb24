"""The Python side of a worker: loads one MLflow model and answers frames on a socket until that closes.

It runs in the environment of the model, so it needs no more than that has: MLflow, NumPy and pandas; and it keeps to
what Python 3.8 can read. The protocol is described in the documentation of the crate `trueline-workers`.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import gc
import inspect
import json
import mmap
import os
import platform
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, NoReturn, Sequence  # noqa: UP035 (Python 3.8)

PROTOCOL = 1
MAGIC = b"TLw1"
HEADER = struct.Struct("<4sBBHIIQ")  # magic, kind, flags, zero, id, bytes of the head, bytes of the body
START, HELLO, READY, FAILED, PREDICT, INVOKE, ANSWER = 1, 2, 3, 4, 5, 6, 7
APART = 1  # the body is in a memfd that came with the frame
ALIGNMENT = 64
LONGEST_MESSAGE = 8_000
LONGEST_TRACEBACK = 32_000
#: A wider table is answered as JSON: its places would not fit into a head.
MOST_COLUMNS = 10_000
F_SETSIG = 10

#: The names of the types in a head, and NumPy's.
NUMBERS = {
    "BOOL": "|b1",
    "UINT8": "|u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "|i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP32": "<f4",
    "FP64": "<f8",
}
NAMES = {dtype[1:]: name for name, dtype in NUMBERS.items()}


class StopRequested(BaseException):
    """SIGTERM came. No Exception, so that no model's `except Exception` keeps the worker alive."""


class Malformed(Exception):
    """A request that can't be turned into what the model takes."""


class Frame(NamedTuple):
    kind: int
    id: int
    head: dict[str, Any]
    body: Any  # bytearray or mmap: writable, since models may work in place


class Part(NamedTuple):
    """One tensor of an answer: its place in the head, without the offset, and its bytes."""

    name: str
    type: str
    shape: list[int]
    chunks: list[Any]


class Channel:
    """Frames over the socket that the server gave."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._sending = threading.Lock()
        self._fds: list[int] = []
        self.apart_above = 65_536

    def receive(self) -> Frame | None:
        """The next frame; None when the server has closed."""
        header = self._header()
        if header is None:
            return None
        magic, kind, flags, _, number, head_length, body_length = HEADER.unpack(header)
        if magic != MAGIC:
            raise ConnectionError(f"a frame begins with {magic!r}: the server speaks another protocol")
        head = json.loads(bytes(self._exactly(head_length))) if head_length else {}
        if not flags & APART:
            return Frame(kind, number, head, self._exactly(body_length))
        fd = self._fds.pop(0)
        try:
            populate = getattr(mmap, "MAP_POPULATE", 0)
            body = mmap.mmap(fd, body_length, flags=mmap.MAP_SHARED | populate)
        finally:
            os.close(fd)
        return Frame(kind, number, head, body)

    def take_fd(self) -> int:
        return self._fds.pop(0)

    def _header(self) -> bytes | None:
        header = b""
        while len(header) < HEADER.size:
            space = socket.CMSG_SPACE(4 * 4)
            data, ancillary, _, _ = self._socket.recvmsg(HEADER.size - len(header), space, socket.MSG_CMSG_CLOEXEC)
            for level, kind, content in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    fds = array.array("i")
                    fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
                    self._fds.extend(fds)
            if not data:
                return None
            header += data
        return header

    def _exactly(self, length: int) -> bytearray:
        content = bytearray(length)
        view = memoryview(content)
        while view:
            received = self._socket.recv_into(view)
            if not received:
                raise ConnectionError("the server closed within a frame")
            view = view[received:]
        return content

    def send(self, kind: int, number: int, head: dict[str, Any], chunks: Sequence[Any] = ()) -> None:
        length = sum(len(chunk) for chunk in chunks)
        fd = memory() if length > self.apart_above else None
        encoded = json.dumps(head, separators=(",", ":"), allow_nan=False).encode()
        header = HEADER.pack(MAGIC, kind, 0 if fd is None else APART, 0, number, len(encoded), length)
        if fd is None:
            with self._sending:
                self._send_all([header, encoded, *chunks])
            return
        try:
            write_all(fd, chunks)
            with self._sending:
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
                sent = self._socket.sendmsg([header, encoded], rights)
                self._send_all([memoryview(header + encoded)[sent:]])
        finally:
            os.close(fd)

    def _send_all(self, chunks: list[Any]) -> None:
        left = [memoryview(chunk) for chunk in chunks if len(chunk)]
        while left:
            sent = self._socket.sendmsg(left[:512])
            left = after(left, sent)


def after(chunks: list[memoryview], written: int) -> list[memoryview]:
    """What is left of chunks when so many bytes of them are written."""
    index = 0
    while index < len(chunks) and written >= len(chunks[index]):
        written -= len(chunks[index])
        index += 1
    left = chunks[index:]
    if written:
        left[0] = left[0][written:]
    return left


def memory() -> int | None:
    """An anonymous file in memory; None where there is none, and then all goes through the socket."""
    create = getattr(os, "memfd_create", None)
    if create is not None:
        return int(create("trueline-answer", os.MFD_CLOEXEC))
    # A Python that was built against an old C library lacks the function, though the machine has it.
    with contextlib.suppress(Exception):
        import ctypes

        fd = ctypes.CDLL(None).memfd_create(b"trueline-answer", 1)
        if fd >= 0:
            return int(fd)
    return None


def write_all(fd: int, chunks: Sequence[Any]) -> None:
    left = [memoryview(chunk) for chunk in chunks if len(chunk)]
    while left:
        left = after(left, os.writev(fd, left[:512]))


def hold_on(lifeline: int) -> None:
    """Ends this process and all of its group when the server closes its end of a pipe, as its death does.

    The kernel sends SIGKILL to the group by itself, so no lock that a model holds can keep that from happening. A
    thread does the same where the kernel can't, and where the end was closed before this.
    """
    with contextlib.suppress(OSError):
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)

    def watch() -> NoReturn:
        poll = select.poll()
        poll.register(lifeline, select.POLLIN)
        while not poll.poll():
            pass
        os.killpg(os.getpgrp(), signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, name="trueline-lifeline", daemon=True).start()


# What came, as what a model takes.


def arrays(places: list[dict[str, Any]], body: Any, is_table: bool) -> list[tuple[str, Any]]:
    """The tensors of a request by name. Numbers are views into the body, without a copy. Texts are objects in a table,
    as pandas has them, and NumPy's own texts elsewhere, if none is missing."""
    import numpy as np

    found = []
    for place in places:
        kind, shape, begin = place["type"], place["shape"], place["at"]
        end = begin + place["len"]
        count = 1
        for n in shape:
            count *= n
        if kind in NUMBERS:
            values = np.frombuffer(body, NUMBERS[kind], count, begin)
        else:
            values = np.empty(count, dtype=object)
            if kind == "JSON":
                listed = json.loads(bytes(body[begin:end]))
            else:
                listed = texts(body, begin, end, count, kind == "TEXT")
            if kind == "TEXT" and not is_table and None not in listed:
                values = np.array(listed, dtype=str)
            else:
                for index, value in enumerate(listed):
                    values[index] = value
        found.append((place["name"], values if len(shape) == 1 else values.reshape(shape)))
    return found


def texts(body: Any, begin: int, end: int, count: int, decode: bool) -> list[Any]:
    """Texts, or bytes: their lengths as 32-bit numbers, -1 for a missing one, then all of them one after the other."""
    import numpy as np

    lengths = np.frombuffer(body, "<i4", count, begin).tolist()
    content: Any = bytes(body[begin + 4 * count : end])
    at = 0
    if decode:
        whole = content.decode()
        if len(whole) == len(content):
            content, decode = whole, False  # of ASCII alone: a place in the bytes is one in the text
    found: list[Any] = []
    for length in lengths:
        if length < 0:
            found.append(None)
            continue
        piece = content[at : at + length]
        found.append(piece.decode() if decode else piece)
        at += length
    return found


def data_of(form: str, named: list[tuple[str, Any]]) -> Any:
    """A DataFrame, one array, a dict of arrays, or a dict of plain values."""
    if form == "array":
        if len(named) != 1:
            raise Malformed(f"the model takes one array, {len(named)} tensors came")
        return named[0][1]
    if form == "dict":
        return dict(named)
    if form == "document":
        return {name: values[0] for name, values in named}
    import pandas as pd

    # By number first: so two columns may have one name, as far as the model allows that.
    columns = {index: values if values.ndim == 1 else list(values) for index, (_, values) in enumerate(named)}
    try:
        frame = pd.DataFrame(columns, copy=False)
    except ValueError as error:
        raise Malformed(f"the columns don't make a table: {error}") from error
    # Without names a table's columns have the numbers that they have been given.
    if form != "numbered":
        frame.columns = pd.Index([name for name, _ in named], dtype=object)
    return frame


# What the model gave, as tensors where it is regular, else as the JSON that MLflow's scoring server would write.


def number_part(name: str, values: Any) -> Part | None:
    """A part of an array; None when its type has no name in the protocol."""
    import numpy as np

    if not isinstance(values, np.ndarray) or isinstance(values, np.ma.MaskedArray) or values.ndim == 0:
        return None
    if values.dtype.kind == "f" and values.dtype.itemsize == 2:
        values = values.astype("<f4")
    kind = f"{values.dtype.kind}{values.dtype.itemsize}"
    if kind in NAMES:
        plain = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
        content = memoryview(plain.reshape(-1)).cast("B") if plain.size else b""
        return Part(name, NAMES[kind], list(values.shape), [content])
    if values.dtype.kind in "UO":
        return text_part(name, values.reshape(-1).tolist(), list(values.shape))
    return None


def text_part(name: str, values: list[Any], shape: list[int]) -> Part | None:
    if not values or any(type(value) is not str and value is not None for value in values):
        return None
    try:
        encoded = [None if value is None else value.encode() for value in values]
    except UnicodeEncodeError:
        return None  # half of a surrogate pair, which JSON can escape
    lengths = struct.pack(f"<{len(encoded)}i", *(-1 if value is None else len(value) for value in encoded))
    return Part(name, "TEXT", shape, [lengths, b"".join(value for value in encoded if value)])


def list_part(name: str, values: Any) -> Part | None:
    """A part of a list whose elements are of one type, or lists of one length of such."""
    import numpy as np

    types = set(map(type, values))
    if types <= {str, type(None)}:
        return text_part(name, list(values), [len(values)])
    if len(types) != 1:
        return None
    (kind,) = types
    if kind is np.ndarray:
        alike = len({(value.shape, value.dtype) for value in values}) == 1
        return number_part(name, np.stack(values)) if alike and values[0].dtype.kind in "biuf" else None
    if kind in (list, tuple):
        if len(set(map(len, values))) != 1 or not values[0]:
            return None
        inner = list_part(name, [value for row in values for value in row])
        return inner and inner._replace(shape=[len(values), len(values[0]), *inner.shape[1:]])
    if kind not in (bool, int, float) and not issubclass(kind, (np.bool_, np.integer, np.floating)):
        return None
    with contextlib.suppress(OverflowError):
        dtype = {bool: "|b1", int: "<i8", float: "<f8"}.get(kind)
        return number_part(name, np.array(values, dtype=dtype))
    return None


def nameable(names: list[Any]) -> bool:
    """Whether so many names can stand in a head: each another one, and none with half of a surrogate pair."""
    if not names or len(names) > MOST_COLUMNS or len(set(map(str, names))) != len(names):
        return False
    return all(type(name) is int or (type(name) is str and name == clean(name)) for name in names)


def table_parts(frame: Any) -> list[Part] | None:
    import numpy as np
    import pandas as pd

    names = list(frame.columns)
    if not nameable(names):
        return None
    parts = []
    for index, name in enumerate(names):
        column = frame.iloc[:, index]
        if isinstance(column.dtype, np.dtype):
            part = number_part(str(name), column.to_numpy())
        elif isinstance(column.dtype, pd.StringDtype) and not column.isna().any():
            part = text_part(str(name), column.tolist(), [len(column)])
        else:
            part = None
        if part is None:
            return None
        parts.append(part)
    return parts


def regular(answer: Any, most: int) -> tuple[str, list[Part]] | None:
    """An answer as tensors: one array, records (columns of a table), a dict of arrays. None when it is not regular."""
    import numpy as np
    import pandas as pd

    if type(answer).__module__.startswith("scipy.sparse") and hasattr(answer, "toarray"):
        if answer.shape[0] * answer.shape[1] * answer.dtype.itemsize > most:
            raise ValueError(f"the answer is sparse, of shape {answer.shape}: dense it is larger than {most} bytes")
        answer = answer.toarray()
    if isinstance(answer, pd.Series):
        answer = pd.DataFrame(answer)
    if isinstance(answer, pd.DataFrame):
        columns = table_parts(answer)
        return None if columns is None else ("records", columns)
    if type(answer) is dict:
        if not nameable(list(answer)) or any(type(name) is not str for name in answer):
            return None
        parts = []
        for name, value in answer.items():
            part = list_part(name, value) if type(value) in (list, tuple) else number_part(name, value)
            if part is None:
                return None
            parts.append(part)
        return "dict", parts
    part = list_part("", answer) if type(answer) in (list, tuple) else number_part("", answer)
    if part is None and isinstance(answer, np.matrix):
        part = number_part("", np.asarray(answer))
    return None if part is None else ("array", [part])


def answer_of(answer: Any, most: int) -> tuple[dict[str, Any], list[Any]]:
    """The head and the chunks of the body of an answer."""
    found = regular(answer, most)
    if found is None:
        from mlflow.utils.proto_json_utils import NumpyEncoder, _get_jsonable_obj

        text = json.dumps(_get_jsonable_obj(sparse_free(answer), pandas_orient="records"), cls=NumpyEncoder)
        return {"form": "json"}, [text.encode()]
    form, parts = found
    outputs, chunks, at = [], [], 0
    for part in parts:
        padding = -at % ALIGNMENT
        chunks.append(bytes(padding))
        chunks.extend(part.chunks)
        at += padding
        length = sum(len(chunk) for chunk in part.chunks)
        outputs.append({"name": part.name, "type": part.type, "shape": part.shape, "at": at, "len": length})
        at += length
    return {"form": form, "outputs": outputs}, chunks


def sparse_free(answer: Any) -> Any:
    return answer.toarray() if type(answer).__module__.startswith("scipy.sparse") else answer


# Failures.


def shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"


def failure(error: BaseException, fault: str) -> dict[str, Any]:
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return {
        "fault": fault,
        "type": type(error).__name__,
        "message": clean(shortened(str(error), LONGEST_MESSAGE)),
        "traceback": clean(trace[-LONGEST_TRACEBACK:]),
    }


def clean(text: str) -> str:
    """The text without halves of surrogate pairs, which are none in UTF-8."""
    return text.encode("utf-8", "replace").decode()


def fault_of(error: BaseException) -> str:
    """Whose fault an error is: MLflow says of its own whether the request was bad."""
    status = getattr(error, "get_http_status_code", None)
    if isinstance(error, Malformed):
        return "input"
    with contextlib.suppress(Exception):
        if status is not None and status() == 400:
            return "input"
    return "model"


class Model:
    """A loaded model."""

    def __init__(self, start: dict[str, Any]) -> None:
        import mlflow.pyfunc

        config = {} if start.get("model_config") is None else {"model_config": start["model_config"]}
        self._model = mlflow.pyfunc.load_model(start["model"], **config)
        self._most = int(start["most_body"])
        self._takes_params = "params" in inspect.signature(self._model.predict).parameters
        self._params = self._declared_params()
        self._halves = self._half_precision()
        # What `mlflow models serve` sets when it has loaded a model.
        os.environ["_MLFLOW_IS_IN_SERVING_ENVIRONMENT"] = "true"

    def predict(self, head: dict[str, Any], body: Any) -> tuple[dict[str, Any], list[Any]]:
        began = time.perf_counter_ns()
        try:
            is_table = head["form"] in ("table", "numbered")
            data = self._halved(data_of(head["form"], arrays(head["inputs"], body, is_table)))
            params = head.get("params")
            if head["form"] == "document":
                params = {name: data.pop(name) for name in self._params if name in data}
            read = time.perf_counter_ns()
            if self._takes_params:
                answer = self._model.predict(data, params=params)
            else:
                answer = self._model.predict(data)
            predicted = time.perf_counter_ns()
            answered, chunks = answer_of(answer, self._most)
            self._fits(chunks)
        except StopRequested:
            raise
        except BaseException as error:  # sys.exit() of a model, or a CancelledError, does not end the worker
            return failure(error, fault_of(error)), []
        ended = time.perf_counter_ns()
        answered["ns"] = [read - began, predicted - read, ended - predicted]
        return answered, chunks

    def _declared_params(self) -> list[str]:
        """The names of the params that the model declares."""
        find = getattr(self._model.metadata, "get_params_schema", None)
        schema = find() if find is not None else None
        return [param.name for param in schema.params] if schema is not None else []

    def _half_precision(self) -> list[Any]:
        """The names of the arrays that the model takes as 16-bit floats; None for one without a name."""
        schema = self._model.metadata.get_input_schema()
        if schema is None or not schema.is_tensor_spec():
            return []
        return [spec.name for spec in schema.inputs if str(spec.type) == "float16"]

    def _halved(self, data: Any) -> Any:
        """The same with 16-bit floats where the model takes those: the protocol has none."""
        if not self._halves:
            return data
        if type(data) is dict:
            return {name: value.astype("float16") if name in self._halves else value for name, value in data.items()}
        return data.astype("float16")

    def _fits(self, chunks: list[Any]) -> None:
        length = sum(len(chunk) for chunk in chunks)
        if length > self._most:
            raise ValueError(f"the answer has {length} bytes, more than {self._most}")

    def invoke(self, head: dict[str, Any], body: Any) -> tuple[dict[str, Any], list[Any]]:
        """A request as it came over HTTP, answered by MLflow's own scoring server."""
        began = time.perf_counter_ns()
        try:
            from mlflow.pyfunc import scoring_server

            schema = self._model.metadata.get_input_schema()
            answer = scoring_server.invocations(bytes(body), head["content_type"], self._model, schema)
            status, content, mime = answer.status, answer.response, answer.mimetype
            self._fits([content])
            trouble = None
        except StopRequested:
            raise
        except BaseException as error:  # sys.exit() of a model, or a CancelledError, does not end the worker
            trouble = failure(error, fault_of(error))
            said: Any = error
            if hasattr(said, "serialize_as_json"):
                status, content, mime = said.get_http_status_code(), said.serialize_as_json(), "application/json"
            else:
                status, content, mime = 500, "Internal Server Error", "text/plain"
        # As the web framework of MLflow's server completes it.
        mime = f"{mime}; charset=utf-8" if mime.startswith("text/") else mime
        answered = {"status": status, "content_type": mime, "failure": trouble}
        answered["ns"] = [0, time.perf_counter_ns() - began, 0]
        return answered, [content if isinstance(content, bytes) else clean(content).encode()]


def versions() -> dict[str, Any]:
    import mlflow
    import numpy as np
    import pandas as pd

    python = platform.python_version()
    return {
        "protocol": PROTOCOL,
        "python": python,
        "mlflow": mlflow.__version__,
        "numpy": np.__version__,
        "pandas": pd.__version__,
    }


def serve(channel: Channel, model: Model, threads: int) -> None:
    """Answers requests, one after the other or by several threads, until the server closes."""

    def answer(frame: Frame) -> None:
        head, chunks = (model.predict if frame.kind == PREDICT else model.invoke)(frame.head, frame.body)
        channel.send(ANSWER, frame.id, head, chunks)

    def answer_or_end(frame: Frame) -> None:
        try:
            answer(frame)
        except BaseException:  # nobody would see it on this thread, and who asked would wait for nothing
            traceback.print_exc()
            os._exit(70)

    pool = ThreadPoolExecutor(threads) if threads > 1 else None
    while True:
        frame = channel.receive()
        if frame is None:
            return
        if pool is None:
            answer(frame)
        else:
            pool.submit(answer_or_end, frame)
        del frame  # its body is given back before the next is waited for


def stop(*_: object) -> NoReturn:
    raise StopRequested


def main() -> None:
    # The socket came as standard input, which a model finds empty.
    sock = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    # The folder of this file is no place for a model to import from.
    if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
        del sys.path[0]
    signal.signal(signal.SIGTERM, stop)
    channel = Channel(sock)
    frame = channel.receive()
    if frame is None:
        return
    hold_on(channel.take_fd())
    start = frame.head
    channel.apart_above = int(start["apart_above"])
    try:
        hello = versions()
    except Exception as error:
        channel.send(FAILED, 0, failure(error, "environment"))
        return
    channel.send(HELLO, 0, hello)
    try:
        model = Model(start)
    except StopRequested:
        raise
    except BaseException as error:
        channel.send(FAILED, 0, failure(error, "model"))
        return
    # What is loaded stays, and is not gone through again by each collection of garbage.
    gc.collect()
    gc.freeze()
    channel.send(READY, 0, {})
    serve(channel, model, int(start["threads"]))


if __name__ == "__main__":
    with contextlib.suppress(StopRequested, ConnectionError):
        main()
