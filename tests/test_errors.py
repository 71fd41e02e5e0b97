"""Sentences: what is left out of the addresses in them."""

from __future__ import annotations

import pytest

from slowfast_zoo.errors import quoted, text_without_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("'https://me:PW@a/x?token=PW' failed.", "'https://a/x' failed."),
        ("(see https://a/x?token=PW).", "(see https://a/x)."),
        (
            '{"url":"https://a/x","next":"https://u:PW@b/y?token=PW"}',
            '{"url":"https://a/x","next":"https://b/y"}',
        ),
        ("https://a/x,https://u:PW@b/y", "https://a/x,https://b/y"),
        ("https://web/2020/http://a/b", "https://web/2020/http://a/b"),
        ("HTTP://me:PW@[::1]:80/x", "HTTP://[::1]:80/x"),
        ("'/a/https:/me:PW@b/x?token=PW' and S3:/b/x#PW.", "'/a/https:/b/x' and S3:/b/x."),
        ("'sftp:/me:PW@b/x', hf:/me:PW@b/y", "'sftp:/b/x', hf:/b/y"),
        ("12:30 C:\\films\\a@b.mp4 and me@b.org", "12:30 C:\\films\\a@b.mp4 and me@b.org"),
    ],
)
def test_addresses_lose_their_secrets(text: str, shown: str) -> None:
    assert text_without_secrets(text) == shown


def test_what_is_left_out_of_many_names_is_said() -> None:
    assert quoted(["a", "b", "c"], 3) == "'a', 'b', 'c'" == quoted(["a", "b", "c"])
    assert quoted(["a", "b", "c"], 2) == "'a', 'b' ..."


@pytest.mark.parametrize("text", ["a" * 10**6, "http://" + "." * 10**5 + "a", "a://" * 10**5, "s3:/" * 10**5])
def test_no_text_takes_long(text: str) -> None:
    """Squared, any of these would take hours."""
    text_without_secrets(text)
