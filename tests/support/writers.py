"""Writers that stand in for a language model, with sentences of a test's choosing."""

from collections.abc import Generator

from service.deadline import Deadline
from service.errors import EclipError
from service.reporting.prompt import Prompt
from service.reporting.sentences import Draft
from service.reporting.writer import WritingTask, WrittenBy


class Scripted:
    """Drafts its sentences as findings, each citing all evidence; keeps the tasks it was given."""

    def __init__(self, *sentences: str) -> None:
        self.sentences = sentences
        self.tasks: list[WritingTask] = []

    def write(
        self, task: WritingTask, deadline: Deadline
    ) -> Generator[WrittenBy | Draft, None, None]:
        """Yields who writes and then the sentences."""
        deadline.check()
        self.tasks.append(task)
        numbers = tuple(item.number for item in task.evidence.passages)
        yield WrittenBy("vllm", "writer", len(Prompt.of(task).passages))
        yield from (Draft("findings", text, numbers) for text in self.sentences)


class Failing(Scripted):
    """Drafts its sentences, and then fails."""

    def __init__(self, *sentences: str, error: EclipError) -> None:
        super().__init__(*sentences)
        self.error = error

    def write(
        self, task: WritingTask, deadline: Deadline
    ) -> Generator[WrittenBy | Draft, None, None]:
        """Yields who writes and the sentences; raises the error."""
        yield from super().write(task, deadline)
        raise self.error


class Restarting(Scripted):
    """Drafts a first sentence, begins again, and drafts its other sentences."""

    def __init__(self, first: str, *second: str) -> None:
        super().__init__(*second)
        self.first = Scripted(first)

    def write(
        self, task: WritingTask, deadline: Deadline
    ) -> Generator[WrittenBy | Draft, None, None]:
        """Yields both drafts, each with who writes it."""
        yield from self.first.write(task, deadline)
        yield from super().write(task, deadline)
