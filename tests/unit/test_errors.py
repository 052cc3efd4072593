import pickle

import pytest

from nasc import errors
from nasc.package.verify_report import INCOMPLETE_EXIT_CODE


def every(cls: type[errors.NascError]) -> list[type[errors.NascError]]:
    return [cls, *(d for s in cls.__subclasses__() for d in every(s))]


@pytest.mark.parametrize("cls", every(errors.NascError), ids=lambda c: c.__name__)
def test_message_is_shown_as_written_and_survives_pickling(cls: type[errors.NascError]) -> None:
    arguments = (
        ("no such 'thing'", "proof") if cls is errors.InfeasibleLimits else ("no such 'thing'",)
    )
    error = cls(*arguments)
    assert str(error) == error.message == "no such 'thing'"
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cls
    assert again.message == error.message
    assert getattr(again, "certificate", None) == getattr(error, "certificate", None)


def test_exit_codes() -> None:
    assert errors.NascError.exit_code == 1
    others = {c.__name__: c.exit_code for c in every(errors.NascError) if c.exit_code != 1}
    assert others == {"UsageError": 2, "CodeRefused": INCOMPLETE_EXIT_CODE}


def test_a_lookup_miss_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        raise errors.LookupMiss("no cost for 'mha' at hidden size 512")
