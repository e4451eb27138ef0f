"""SQuAD's own JSON: articles of paragraphs, each a context with its questions.

Both versions: in the second, a question may be impossible, and has no answers then.
"""

from typing import Any

# Any: an object of a JSON file may hold anything.
_Row = dict[str, Any]


def is_squad(content: object) -> bool:
    """Tell whether a JSON file's content is a list of articles with paragraphs."""
    if not isinstance(content, dict) or not isinstance(content.get("data"), list):
        return False
    articles = content["data"]
    return bool(articles) and all(
        isinstance(each, dict) and isinstance(each.get("paragraphs"), list) for each in articles
    )


def squad_rows(content: _Row) -> list[_Row]:
    """Return a row for each question: id, question, context, answers, is_impossible and title.

    Raises:
        ValueError: naming the article and paragraph that is none, as a clause.
    """
    rows = []
    for number, article in enumerate(content["data"], start=1):
        for count, paragraph in enumerate(article["paragraphs"], start=1):
            place = f"paragraph {count} of article {number}"
            if not isinstance(paragraph, dict) or not isinstance(paragraph.get("qas"), list):
                raise ValueError(f"{place} has no list of questions (qas)")
            for question in paragraph["qas"]:
                if not isinstance(question, dict):
                    raise ValueError(f"{place} has a question that is no object")
                rows.append(_row(article, paragraph, question, place))
    return rows


def _row(article: _Row, paragraph: _Row, question: _Row, place: str) -> _Row:
    answers, is_impossible = question.get("answers"), question.get("is_impossible")
    if is_impossible is not None and answers is not None and bool(answers) == is_impossible:
        raise ValueError(
            f"{place}: the question {question.get('id')!r} has "
            f"{len(answers) if isinstance(answers, list) else 'some'} answers, and its "
            f"is_impossible is {str(is_impossible).lower()}"
        )
    return {
        "id": question.get("id"),
        "title": article.get("title"),
        "question": question.get("question"),
        "context": paragraph.get("context"),
        "answers": answers,
        "is_impossible": is_impossible,
    }
