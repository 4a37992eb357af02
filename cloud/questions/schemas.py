"""What the API says of devices' questions."""

from datetime import datetime

from cloud.devices.schemas import ApiModel


class QuestionView(ApiModel):
    """A question of a device. `state`: open, answered, dropped (its device was revoked). `is_known` false: nothing that
    the device may have supports an answer, or it was not looked up; `code` says why. `collections`: what the answer is
    from. Text is null where content was forgotten."""

    number: int
    principal: str
    task: str
    node: int
    call: int
    state: str
    question: str | None
    labels: list[str]
    attempts: int
    asked_at: datetime
    ended_at: datetime | None
    is_known: bool | None
    code: str | None
    by: str | None
    collections: list[str]


class SourceView(ApiModel):
    """`number` as in the answer's text."""

    number: int
    line: str


class AnsweredQuestionView(QuestionView):
    """With what its device was told, and what that bears."""

    answer: str | None
    sources: list[SourceView]
    answer_labels: list[str]


class QuestionPage(ApiModel):
    """`next`: the value of `before` for the following page, null on the last."""

    questions: list[QuestionView]
    next: int | None
