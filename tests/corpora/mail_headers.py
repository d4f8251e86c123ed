"""Text that tries to end a field of a mail and begin another, or to say what nobody wrote.

Each is put where strangers' words go: into a subject, a sentence, a name, a piece of evidence. What
must hold: the mail that arrives has the fields it was given, the recipients it was given, and one
body; or it is refused before anything is connected.
"""

from __future__ import annotations

MAIL_HEADERS: list[str] = [
    # --- a line break, and a field of one's own
    "a\r\nBcc: eve@example.com",
    "a\nBcc: eve@example.com",
    "a\rBcc: eve@example.com",
    "a\r\n\r\nBcc: eve@example.com",
    "a\n\nBcc: eve@example.com",
    "a\r\r\nBcc: eve@example.com",
    "a\n\rBcc: eve@example.com",
    "a\r\nTo: eve@example.com",
    "a\r\nCc: eve@example.com",
    "a\r\nFrom: boss@example.com",
    "a\r\nReply-To: eve@example.com",
    "a\r\nSender: boss@example.com",
    "a\r\nReturn-Path: <eve@example.com>",
    "a\r\nMessage-ID: <forged@example.com>",
    "a\r\nReferences: <forged@example.com>",
    "a\r\nAuto-Submitted: no",
    "a\r\nDisposition-Notification-To: eve@example.com",
    "a\r\nX-Mailer: eve",
    "\r\nBcc: eve@example.com",
    "\nBcc: eve@example.com\n",
    # --- a fold, which the next reader may undo
    "a\r\n Bcc: eve@example.com",
    "a\r\n\tBcc: eve@example.com",
    "a\n \nBcc: eve@example.com",
    # --- a body, or a part of one, of one's own
    "a\r\n\r\n<html><script>alert(1)</script>",
    "a\r\nContent-Type: text/html\r\n\r\n<b>pay here</b>",
    "a\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n",
    "a\r\nContent-Transfer-Encoding: base64",
    "a\r\nMIME-Version: 9.9",
    # --- the end of the content, and a talk with the server
    "a\r\n.\r\n",
    "a\n.\n",
    "\r\n.\r\nMAIL FROM:<eve@example.com>\r\nRCPT TO:<ann@example.com>\r\nDATA\r\n",
    "a\r\n.\r\nRSET",
    "a\r.\rQUIT",
    ".",
    "..",
    # --- breaks that only some readers know
    "a\x0bBcc: eve@example.com",
    "a\x0cBcc: eve@example.com",
    "a\x1cBcc: eve@example.com",
    "a\x1dBcc: eve@example.com",
    "a\x1eBcc: eve@example.com",
    "a\x85Bcc: eve@example.com",
    "a\u2028Bcc: eve@example.com",
    "a\u2029Bcc: eve@example.com",
    "a\0Bcc: eve@example.com",
    # --- what a reader decodes
    "=?utf-8?q?a=0D=0ABcc:_eve@example.com?=",
    "=?utf-8?b?YQ0KQmNjOiBldmVAZXhhbXBsZS5jb20=?=",
    "=?utf-8?q?=0AX:_y?=",
    "=?us-ascii?q?=00?=",
    "=?utf-7?q?+AAoAQg-?=",
    "=?utf-8?q?a?= =?utf-8?q?=0D=0AX:_y?=",
    "=?unknown?q?=0A?=",
    "%0d%0aBcc: eve@example.com",
    "%0aBcc: eve@example.com",
    "\\r\\nBcc: eve@example.com",
    "&#13;&#10;Bcc: eve@example.com",
    # --- length, and characters that cannot travel
    "a" * 2_000,
    "é" * 1_000,
    "a " * 1_000,
    "\ud800Bcc: eve@example.com",
    "a\udcffb",
    "\u202egro.live@evil",
    "\ufeffBcc: eve@example.com",
    "\x7fBcc: eve@example.com",
    "\x1b[2JBcc: eve@example.com",
]
