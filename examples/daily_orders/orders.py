"""The whole job: close the day, write its CSV, mail it. Once, whatever dies.

Three instances run this; two schedules, the platform's cron job and people may all ask for the
same day. The day is closed once (a row in the shop's own table), and the mail is an effect whose
key is the Amsterdam day: whoever comes second gets the first one's receipt. A mail whose answer
was lost is never sent again by guess: that day is parked with an incident, and the next goes on.
"""

from __future__ import annotations

import tempfile
from email.message import EmailMessage
from pathlib import Path

from duly import Context, Duly, Refused
from duly.outbound.mail import Mail
from examples.daily_orders import days
from examples.daily_orders.export import Written, write_csv
from examples.daily_orders.links import link_to
from examples.daily_orders.settings import read_settings
from examples.daily_orders.shop import COLUMNS, Shop, open_shop

settings = read_settings()
mail = Mail(settings.smtp_host, settings.smtp_port, tls=settings.smtp_tls)
app = Duly(name="daily-orders", lifespan=open_shop)


# "latest": after a week of downtime one CSV brings all that waited, because a day begins where the
# last closed one ended. "allow": a Monday that waits for the mail server must not stop Tuesday.
@app.task(**days.at_one(), catch_up="latest", max_age="7d", overlap="allow", retries=5)
async def mail_orders(ctx: Context) -> int:
    """Mail the CSV of the day this run is due for; returns how many orders it holds."""
    if ctx.due is None:
        raise Refused("ask by `duly schedules trigger mail_orders`, which says for which day")
    shop: Shop = ctx.resources
    day = days.name_of(ctx.due)
    closed = await ctx.step("close the day", shop.close_day, day)
    with tempfile.TemporaryDirectory(prefix="orders-") as folder:
        # Not a step: the instance that takes over after a death has another disk. The bounds are
        # remembered, so the file is the same, byte by byte, whoever writes it.
        written = await write_csv(shop.orders_of(closed), COLUMNS, Path(folder) / f"{day}.csv")
        await ctx.effect(
            "mail", mail.send, letter(day, written),
            per="day Europe/Amsterdam", key=days.part_of(ctx.due), before=mail.available,
        )  # fmt: skip
    return written.orders


# The same task: what one o'clock has mailed, two o'clock finds done.
app.schedule("mail_orders_again", mail_orders, **days.at_two(), catch_up="latest", overlap="allow")


def letter(day: str, written: Written) -> EmailMessage:
    """Write the mail of a day: the CSV attached, or a link where it is too large for a mail."""
    message = EmailMessage()
    message["From"], message["To"] = settings.mail_from, settings.mail_to
    message["Subject"] = f"Orders of {day}"
    told = f"{written.orders} orders, {written.size} bytes\nSHA-256 {written.sha256}\n"
    message.set_content(f"{told}\n{link_to(settings, day)}\n")
    if written.size <= settings.attach_bytes:
        message.add_attachment(
            written.path.read_bytes(), maintype="text", subtype="csv", filename=f"{day}.csv"
        )
    return message
