"""Reads what a child says on its control pipe; the other end belongs to hostile code."""

import struct

RECORD = struct.Struct("<4sII")
LAYER_MARK = b"LAYR"
ERROR_MARK = b"FAIL"
MAX_TEXT = 1200
CHILD_CODES = frozenset(
    {
        "no_score",
        "no_program",
        "wrong_type",
        "wrong_shape",
        "wrong_dtype",
        "mutated_input",
        "exception",
        "oom",
        "syntax",
    }
)


class ControlReader:
    """Strict reader of layer and error records, in the order that was asked for.

    Args:
        order: Layer indices that the child has to report, in this order.
    """

    def __init__(self, order: tuple[int, ...]) -> None:
        self._order = order
        self._done = 0
        self._buffer = bytearray()
        self.error: tuple[str, str] | None = None
        self.broken = ""

    @property
    def complete(self) -> bool:
        """Every layer was reported and nothing else."""
        return self._done == len(self._order) and not self._buffer and self.error is None

    @property
    def expected(self) -> int:
        """How many layers the job has."""
        return len(self._order)

    def feed(self, data: bytes) -> list[int]:
        """Add bytes; return the layers that are now reported. Sets ``broken`` on a wrong byte."""
        self._buffer += data
        layers: list[int] = []
        while not self.broken and len(self._buffer) >= RECORD.size:
            mark, index, size = RECORD.unpack_from(self._buffer)
            if mark == LAYER_MARK and size == 0 and self._expects(index):
                self._done += 1
                layers.append(index)
            elif mark == ERROR_MARK and size <= MAX_TEXT and self.error is None:
                if len(self._buffer) < RECORD.size + size:
                    break
                self._set_error(bytes(self._buffer[RECORD.size : RECORD.size + size]))
                del self._buffer[:size]
            else:
                self.broken = "the code wrote to the control pipe"
            del self._buffer[: RECORD.size]
        return layers

    def _expects(self, index: int) -> bool:
        return (
            self.error is None
            and self._done < len(self._order)
            and index == self._order[self._done]
        )

    def _set_error(self, data: bytes) -> None:
        code, _, text = data.decode("utf-8", "replace").partition("\n")
        if code not in CHILD_CODES:
            self.broken = "an unknown error code was written to the control pipe"
        else:
            self.error = (code, text)
