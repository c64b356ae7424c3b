"""What the operating system refuses is told in one line that says what to do."""

import errno
import os

import pytest

from vibee.runtime.errors import os_error

CASES = [
    (errno.ENOSPC, "the disk is full; free some space or choose another folder"),
    (errno.EDQUOT, "the disk is full; free some space or choose another folder"),
    (errno.EROFS, "the file system is read-only; choose another folder"),
    (errno.EACCES, "permission denied"),
    (errno.EPERM, "permission denied"),
    (errno.ENOENT, "no such file or folder"),
    (errno.EIO, os.strerror(errno.EIO)),
]


@pytest.mark.parametrize(("number", "text"), CASES, ids=[errno.errorcode[n] for n, _ in CASES])
def test_an_error_says_what_could_not_be_done_and_why(number, text):
    assert str(os_error(OSError(number, os.strerror(number)), "write", "a\nb")) == f"cannot write a b: {text}"


def test_an_error_without_a_number_is_told_in_its_own_words():
    assert str(os_error(OSError("odd"), "read", "x")) == "cannot read x: odd"
