"""Errors that come in groups, as task groups raise them."""


def leaves(error: BaseException) -> list[BaseException]:
    """The errors themselves, out of whatever groups they came in."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in leaves(one)]
    return [error]
