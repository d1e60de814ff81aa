"""One session's state as a row of float32, so that the states of all who tick together stack into one matrix."""

from .frame import Sound


class Layout:
    """Names the parts of a row: `rows[:, layout["past"]]` is a view of one part of all rows, to read and to write."""

    def __init__(self, **sizes: int) -> None:
        self.size = 0
        self._places: dict[str, slice] = {}
        for name, size in sizes.items():
            self._places[name] = slice(self.size, self.size + size)
            self.size += size

    def __getitem__(self, name: str) -> slice:
        return self._places[name]

    def column(self, rows: Sound, name: str) -> Sound:
        """A part of size one as a vector over the sessions; a view."""
        return rows[:, self._places[name].start]
