"""Local times and intervals, as docs/flow_document.md has them. Moments are datetimes in UTC, local
times have no zone.
"""

import calendar
import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

UTC = timezone.utc
DAYS = ['monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday']


@dataclass(frozen=True)
class Interval:
    months: int = 0
    days: int = 0
    duration: timedelta = timedelta(0)


def _units(number):
    return {
        'minute': Interval(duration=timedelta(minutes=number)),
        'hour': Interval(duration=timedelta(hours=number)),
        'day': Interval(days=number),
        'week': Interval(days=7 * number),
        'month': Interval(months=number),
    }


def parse_interval(text):
    """Numbers with units, such as '1 day 90 minutes': a part of what PostgreSQL understands."""
    months, days, duration = 0, 0, timedelta(0)
    assert re.fullmatch(r'\s*(-?\d+ *[a-z]+\s*)+', text), text
    for number, unit in re.findall(r'(-?\d+) *([a-z]+)', text):
        part = _units(int(number))[re.sub(r's$', '', unit)]
        months, days, duration = months + part.months, days + part.days, duration + part.duration
    return Interval(months, days, duration)


def parse_time(text):
    hours, minutes = text.split(':')
    return time(int(hours), int(minutes))


def local(moment, zone):
    return moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def instant(local_time, zone):
    """The moment of a local time. One that does not exist, and one that comes twice: the later of
    both readings is the one after the gap, or the second time."""
    info = ZoneInfo(zone)
    return max(local_time.replace(tzinfo=info, fold=fold).astimezone(UTC) for fold in (0, 1))


def add_to_local(local_time, interval):
    """Months, which end at the month's last day at the latest, then days. Hours are not looked at.
    """
    month = local_time.month - 1 + interval.months
    year, month = local_time.year + month // 12, month % 12 + 1
    day = min(local_time.day, calendar.monthrange(year, month)[1])
    return local_time.replace(year=year, month=month, day=day) + timedelta(days=interval.days)


def add(moment, interval, zone):
    """Months and days in the zone's calendar, hours and below in real time."""
    if interval.months or interval.days:
        moment = instant(add_to_local(local(moment, zone), interval), zone)
    return moment + interval.duration


def add_exactly(moment, interval):
    """In UTC, where every day has 24 hours."""
    return add(moment, interval, 'UTC')


def day_name(day):
    return DAYS[day.weekday()]


def first_moment(base, weekdays, at, zone):
    """The first moment, not before base, on one of these days at this time; without a time, at any
    time of such a day.
    """
    weekdays = weekdays or DAYS
    day = local(base, zone).date()
    if at is None and day_name(day) in weekdays:
        return base
    while True:
        moment = instant(datetime.combine(day, at or time(0)), zone)
        if moment >= base and day_name(day) in weekdays:
            return moment
        day += timedelta(days=1)


def moments_between(after, until, weekdays, at, zone):
    """All such moments later than after, up to until."""
    moments = []
    moment = first_moment(after, weekdays, at, zone)
    while moment <= until:
        if moment > after:
            moments.append(moment)
        moment = first_moment(moment + timedelta(seconds=1), weekdays, at, zone)
    return moments


def is_quiet(moment, start, end, zone):
    """Whether the local time lies in the hours from start, up to but not at end; they may go past
    midnight.
    """
    now = local(moment, zone).time()
    return start <= now < end if start <= end else now >= start or now < end


def end_of_quiet(moment, end, zone):
    return first_moment(moment, None, end, zone)


def as_moment(value, zone):
    """A date is its midnight in the zone."""
    if isinstance(value, datetime):
        return value
    assert isinstance(value, date), value
    return instant(datetime.combine(value, time(0)), zone)
