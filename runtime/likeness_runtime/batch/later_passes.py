"""What the passes after the first one made of each subject, looked up by line number in a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from likeness_runtime.batch.batch_folder import BatchFolder, segment_name
from likeness_runtime.batch.plan import BatchPlan
from likeness_runtime.batch.result_line import Outcome, ResultLine, read_lines


@dataclass
class LaterPasses:
    """Memory grows by some hundred bytes a subject."""

    path: Path
    steps: list[int]
    """Of each pass that was begun."""
    _places: dict[int, int] = field(default_factory=dict)
    _reached: set[int] = field(default_factory=set)
    """Lines that the last pass is through with."""

    def read(self, folder: BatchFolder, plans: list[BatchPlan]) -> None:
        """`plans` are those of the passes after the first one, in order."""
        last = len(plans)
        with self.path.open("wb") as file:
            for which, plan in enumerate(plans, start=1):
                for index in range(len(plan.shards)):
                    for line in read_lines(folder.read(segment_name(which, index))):
                        if which == last:
                            self._reached.add(line.line)
                        if line.outcome is not Outcome.FAILED:
                            self._places[line.line] = file.tell()
                            file.write(line.encode())

    def better(self, first: ResultLine) -> ResultLine:
        """The line of the last pass that published the subject; a later one that failed takes nothing away."""
        if len(self.steps) == 1 or first.outcome is not Outcome.SUCCEEDED:
            return first
        line = first
        if (place := self._places.get(first.line)) is not None:
            with self.path.open("rb") as file:
                file.seek(place)
                line = ResultLine.decode(file.readline())
        if first.line not in self._reached:
            missed = f"not reached by the pass of {self.steps[-1]} steps before completeBy"
            line = line.model_copy(update={"message": f"{line.message}; {missed}"})
        return line
