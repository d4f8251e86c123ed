"""A URL leads where calls may go, or is refused with the reason; exceptions are explicit."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly.core.addresses import faces, why_not
from duly.core.targets import Rules, read_allowed, read_target
from duly.errors import InvalidValue
from tests.core.hostile_urls import HOSTILE
from tests.stores.profiles import cases


def test_the_corpus_is_large_and_has_nothing_twice() -> None:
    print(f"{len(HOSTILE)} hostile URLs, all refused")
    assert len(HOSTILE) >= 120
    assert len({url for url, _ in HOSTILE}) == len(HOSTILE)


@pytest.mark.parametrize(("url", "words"), HOSTILE)
def test_a_hostile_url_is_refused_with_its_reason(url: str, words: str) -> None:
    with pytest.raises(InvalidValue, match=r"^expected") as told:
        Rules().read(url)
    assert words in str(told.value)


@pytest.mark.parametrize(
    ("url", "leads"),
    [
        ("https://example.com", "https://example.com:443/"),
        ("https://EXAMPLE.com/a?b=c&d=%20{due}", "https://example.com:443/a?b=c&d=%20{due}"),
        ("https://example.com?x=1", "https://example.com:443/?x=1"),
        ("https://example.com:80/", "https://example.com:80/"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example:443/"),
        ("https://under_score.example/@me", "https://under_score.example:443/@me"),
        ("https://93.184.216.34/", "https://93.184.216.34:443/"),
        ("https://[2606:4700::1111]/", "https://[2606:4700::1111]:443/"),
        ("https://[2606:4700:0:0:0:0:0:1111]/", "https://[2606:4700::1111]:443/"),
        ("https://[64:ff9b::5db8:d822]/", "https://[64:ff9b::5db8:d822]:443/"),
        ("https://1and1.com/", "https://1and1.com:443/"),
    ],
)
def test_a_public_url_is_written_in_its_one_form(url: str, leads: str) -> None:
    target = Rules().read(url)
    assert target.url == leads
    assert Rules().read(target.url) == target


ALLOW = (
    "10.0.0.0/8", "192.168.7.7:9000", "[fd00::/8]:22", "fd99::1", "localhost:8080",
    "Shop.Internal:*", ":8443",
)  # fmt: skip


@pytest.mark.parametrize(
    ("url", "may"),
    [
        ("http://10.1.2.3/", True),
        ("http://10.1.2.3:8080/", False),
        ("http://11.1.2.3:8443/", True),
        ("http://10.1.2.3:8443/", False),
        ("http://[::ffff:10.1.2.3]/", True),
        ("http://[2002:a01:203::1]/", False),
        ("http://[2001:0:a01:203::]/", False),
        ("http://192.168.7.7:9000/", True),
        ("http://192.168.7.7/", False),
        ("http://192.168.7.8:9000/", False),
        ("http://[fd00::1]:22/", True),
        ("http://[fd99::1]/", True),
        ("http://[fe80::1]:8443/", False),
        ("http://localhost:8080/", True),
        ("http://localhost:8081/", False),
        ("http://shop.internal:1/", True),
        ("http://127.0.0.1:8443/", False),
        ("http://169.254.169.254:8443/", False),
        ("http://[fd00:ec2::254]/", False),
        ("http://metadata:8443/", False),
    ],
)
def test_an_exception_opens_what_it_names_and_no_more(url: str, may: bool) -> None:
    rules = Rules.of(ALLOW, plain_http=True)
    try:
        rules.read(url)
        opened = True
    except InvalidValue:
        opened = False
    assert opened is may


def test_a_name_is_judged_by_each_address_it_leads_to() -> None:
    rules = Rules.of(ALLOW)
    for host, port, address, may in (
        ("localhost", 8080, "127.0.0.1", True),
        ("localhost", 443, "127.0.0.1", False),
        ("localhost", 8080, "169.254.169.254", False),
        ("public.example", 443, "93.184.216.34", True),
        ("public.example", 443, "10.0.0.1", True),
        ("public.example", 443, "192.168.7.7", False),
        ("public.example", 443, "::ffff:127.0.0.1", False),
    ):
        assert (rules.why_not(host, port, ip_address(address)) is None) is may, (host, address)
    assert rules.port_opens("a.example", 8443, ip_address("93.184.216.34"))
    assert not rules.port_opens("a.example", 9000, ip_address("93.184.216.34"))
    assert rules.port_opens("a.example", 9000, ip_address("192.168.7.7"))


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("", "a network"),
        (":", "a network"),
        (":*", "a network"),
        ("10.0.0.1/8", "to be whole"),
        ("10.0.0.0/33", "to be whole"),
        ("10.0.0.0/8:0", "from 1 to 65535"),
        ("10.0.0.0/8:99999", "from 1 to 65535"),
        ("10.0.0.0/8:x", "a network"),
        ("0x7f.1", "usual form"),
        ("a b", "letters, digits"),
        ("https://example.com", "a network"),
        ("*", "letters, digits"),
        (7, "a network"),
    ],
)
def test_an_exception_that_cannot_be_right_is_refused(entry: object, words: str) -> None:
    with pytest.raises(InvalidValue) as told:
        read_allowed(entry)
    assert words in str(told.value)


def test_every_wrong_exception_is_named_at_once() -> None:
    with pytest.raises(InvalidValue) as told:
        Rules.of(["10.0.0.1/8", "fine.example", "a b"])
    assert "10.0.0.1/8" in str(told.value) and "'a b'" in str(told.value)


@given(st.ip_addresses())
@cases(100)
def test_what_wraps_an_address_is_never_let_through_where_that_is_not(address: object) -> None:
    one = ip_address(str(address))
    inner = faces(one)[1:]
    if any(why_not(it) is not None for it in inner):
        assert why_not(one) is not None


@given(st.text(max_size=60) | st.from_regex(r"https?://[\w.:\[\]@%#\\-]{0,30}/?", fullmatch=True))
@cases(100)
def test_any_text_is_a_target_or_refused(text: str) -> None:
    try:
        target = read_target(text)
    except InvalidValue as error:
        assert str(error).startswith("expected")
    else:
        assert read_target(target.url) == target
