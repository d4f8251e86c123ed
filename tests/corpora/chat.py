"""Text that tries to be more than text in Slack: a mention of everybody, a link, a mark-up.

What must hold of what is posted: no `<` or `>` is left in it, each `&` begins one of Slack's three
escapes, every block is `plain_text`, nothing is unfurled, and no bound of Slack is passed.
"""

from __future__ import annotations

CHAT: list[str] = [
    # --- mentions
    "<!channel>",
    "<!here>",
    "<!everyone>",
    "<!channel|read me>",
    "<!here|here>",
    "<@U024BE7LH>",
    "<@W012A3CDE|ann>",
    "<#C024BE7LR>",
    "<#C024BE7LR|general>",
    "<!subteam^SAZ94GDB8>",
    "<!subteam^SAZ94GDB8|@team>",
    "<!date^1392734382^{date}^https://evil.example/|now>",
    "@channel",
    "@here",
    "@everyone",
    "@ann",
    "#general",
    "< !channel>",
    "<\u200b!channel>",
    "<!channel",
    "!channel>",
    "<<!channel>>",
    "<!chan<!channel>nel>",
    # --- links
    "<https://evil.example/|https://good.example/>",
    "<https://evil.example/>",
    "<https://evil.example/|the invoice>",
    "<mailto:eve@example.com|ann@example.com>",
    "<tel:+15555550100|call>",
    "<javascript:alert(1)|x>",
    "<slack://channel?id=C1|x>",
    "https://evil.example/",
    "evil.example/path",
    "[good](https://evil.example/)",
    "![good](https://evil.example/x.png)",
    # --- escapes that are there already, or half
    "&lt;!channel&gt;",
    "&lt;!channel>",
    "&amp;lt;!channel&amp;gt;",
    "&#60;!channel&#62;",
    "&#x3c;!channel&#x3e;",
    "&",
    "&&&",
    "&amp",
    "&l<t;",
    # --- mark-up
    "*bold* _it_ ~gone~ `code`",
    "```\n<!channel>\n```",
    "`` ` ``<!here>",
    "> quoted\n>>> all of it",
    "a\n\n*From: the boss*\nplease pay",
    ":rotating_light: :joy:",
    "\u2028<!channel>",
    "\u202e>lennahc!<",
    "\x00<!channel>",
    "\x1b]8;;https://evil.example\x07good\x1b]8;;\x07",
    "\ud83d<!channel>",
    # --- lengths, also after escaping
    "<" * 5_000,
    "&" * 5_000,
    "a" * 50_000,
    "<!channel>" * 1_000,
    # --- breaking out of the JSON
    '"}],"text":"<!channel>","blocks":[{"x":"',
    '\\"}, "unfurl_links": true, "a": {"',
    "\\u003c!channel\\u003e",
]
