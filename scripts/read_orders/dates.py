"""How dates and times are written, and in which order the day and the month are."""

import datetime
import re
from collections import Counter
from itertools import repeat

from .cache import Cache
from .report import remark
from .words import ZONES, month_number

WEEKDAY = r'(?:(?:mon|tue|wed|thu|fri|sat|sun|mo|di|mi|do|fr|sa|so|lun|mar|mer|jeu|ven|sam|dim' \
          r'|pon|wt|śr|czw|pt|pią|sob|nie)[^\W\d_]*\.?,?\s+)?'
WHEN = re.compile(rf"""
    {WEEKDAY}
    (?P<date> (?P<a>[0-9]{{1,4}}) (?P<mark>[./-]) (?P<b>[0-9]{{1,2}}) (?P=mark) (?P<c>[0-9]{{2,4}})
            | (?P<compact>[0-9]{{8}})
            | (?P<day>[0-9]{{1,2}}) (?:\.|er|st|nd|rd|th)? [ -]? (?:de[ ])?
              (?P<month>[^\W\d_]{{3,12}}) \.? [ ,-]+ (?:de[ ])? (?P<year>[0-9]{{4}}|[0-9]{{2}})
            | (?P<month2>[^\W\d_]{{3,12}}) \.? [ ] (?P<day2>[0-9]{{1,2}}) (?:st|nd|rd|th)? ,? [ ]
              (?P<year2>[0-9]{{4}}) )
    (?P<time> (?: T | ,?\s+ (?:at\s+)? ) [0-9].* )?
    """, re.X | re.I).fullmatch
TIME = re.compile(r"""
    (?: T | ,?\s+ (?:at\s+)? )
    (?P<hour>[0-9]{1,2}) : (?P<minute>[0-9]{2})
    (?: : (?P<second>[0-9]{2}) (?: [.,] (?P<fraction>[0-9]{1,9}) )? )?
    \s* (?P<half> [ap]\.?m\.? )? \s*
    (?P<zone> [a-z]{1,4} | (?:UTC|GMT)? [+-][0-9]{1,2} (?: :? [0-9]{2} )? )?
    """, re.X | re.I).fullmatch
NUMERIC = re.compile(rf'\s*{WEEKDAY}([0-9]{{1,3}})([./-])([0-9]{{1,2}})\2', re.I).match
SHORT_YEAR = re.compile(rf'\s*{WEEKDAY}[0-9]{{1,2}}([./-])[0-9]{{1,2}}\1[0-9]{{2}}(?![0-9])',
                        re.I).match
EPOCH = re.compile('1[0-9]{9}(?:[0-9]{3})?').fullmatch
MIDNIGHT = ' 00:00:00+00:00'


def start_of(text):
    """Cuts off the time, to have few different dates to look at."""
    return text[:10] if text[:1].isdigit() else text[:22]


def vote(start):
    """Tells the mark of a date, and the order of day and month that it must have, if it tells."""
    numeric = NUMERIC(start)
    if not numeric or len(numeric[1]) > 2:
        return None
    first, mark, second = int(numeric[1]), numeric[2], int(numeric[3])
    if first > 12:
        return mark, 'YMD' if first > 31 else 'DMY'
    return mark, 'MDY' if 12 < second <= 31 else 'either'


class DayOrder:
    """Knows the order of day and month: the one that most dates with the same mark must have."""

    names = {'DMY': 'day.month.year', 'MDY': 'month/day/year', 'YMD': 'year-month-day'}

    def __init__(self, options, starts):
        self.chosen = options.dates
        self.votes = {}
        self.examples = {}
        for start in starts:
            voted = vote(start)
            if voted:
                self.votes.setdefault(voted[0], Counter())[voted[1]] += 1
                self.examples[voted[0]] = min(start, self.examples.get(voted[0], start))
        all_votes = sum(self.votes.values(), Counter())
        self.order = options.dates or self.most(all_votes)
        self.short = min((start for start in starts if SHORT_YEAR(start)), default=None)

    @staticmethod
    def most(votes):
        return max(('DMY', 'MDY', 'YMD'), key=lambda order: votes[order])

    def certain(self, mark):
        return any(self.votes.get(mark, {}).get(order) for order in self.names)

    def of(self, mark):
        """Tells the order of dates with this mark."""
        return self.most(self.votes[mark]) if self.certain(mark) and not self.chosen else self.order

    def sort(self, first, mark, second, third):
        """Returns year, month, day."""
        if len(first) == 4:
            return first, second, third
        if len(first) == 3 or len(third) == 3:
            raise ValueError('has a year of three digits')
        return {'DMY': (third, second, first), 'MDY': (third, first, second),
                'YMD': (first, second, third)}[self.of(mark)]

    def describe(self):
        """Says how dates were read that prove nothing."""
        if self.chosen:
            return
        if self.short:
            order = self.of(NUMERIC(self.short)[2])
            remark(f'Years have two digits. Dates, such as {self.short!r}, were read as '
                   f'{self.names[order]}. DATES=DMY, MDY or YMD chooses.')
            return
        for mark in [mark for mark in self.votes if not self.certain(mark)]:
            order = self.of(mark)
            other = 'MDY' if order == 'DMY' else 'DMY'
            such = f', such as {self.examples[mark]!r},' if len(self.votes) > 1 else ''
            remark('Which is the day, which the month? No day is above 12. '
                   f'Dates{such} were read as {self.names[order]}. '
                   f'DATES={other} reads them as {self.names[other]}.')

    def summary(self):
        orders = dict.fromkeys(self.of(mark) for mark in sorted(self.votes)) or ['YMD']
        return 'dates as ' + ' and '.join(self.names[order] for order in orders)


class Dates:
    """Reads dates and times."""

    def __init__(self, order):
        self.order = order
        self.cut = None             # what stands between the date and the time
        self.dates, self.times = Cache(self.read_date_alone), Cache(self.read_time)
        self.others = Cache(self.read_new)
        self.zones = set()          # whether some times have one, and some have none

    def read(self, text, _line=None):
        """Returns a time as PostgreSQL writes it, with its zone; raises ValueError."""
        if self.cut is None:
            self.cut = 'T' if text[10:11] == 'T' else ' '
        date, cut, time = text.partition(self.cut)
        date = self.dates[date]
        return date + self.times[cut + time] if date else self.others[text]

    def read_all(self, texts):
        """Reads times as above, many at once."""
        if self.cut is None:
            self.read(texts[0])
        dates, times = self.dates, self.times
        try:
            return [dates[date] + times[cut + time]
                    for date, cut, time in map(str.partition, texts, repeat(self.cut))]
        except TypeError:       # None is no date alone
            return list(map(self.read, texts))

    def read_date_alone(self, text):
        """Reads what stands before the first blank, or returns None if that is no date."""
        when = WHEN(text)
        try:
            return self.read_date(when) if when and not when['time'] else None
        except ValueError:
            return None

    def read_new(self, text):
        text = text.strip()
        if EPOCH(text):
            seconds = int(text[:10])
            return str(datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc))
        when = WHEN(text) if len(text) < 80 else None
        if not when:
            raise ValueError(self.explain(text))
        return self.read_date(when) + self.read_time(when['time'] or '')

    @staticmethod
    def explain(text):
        if not text:
            return 'is no date'
        if re.fullmatch(r'[0-9]{5}([.,][0-9]+)?', text):
            return 'is a number of days, as Excel keeps dates; ' \
                   'format the column as 2025-12-31 and export again'
        return 'is not a date that is understood; ' \
               'write it like 2025-12-31 or 2025-12-31 23:59:00 +0100'

    def read_date(self, when):
        year, month, day = self.parts(when)
        year, month, day = int(year) + self.century(year), int(month), int(day)
        if not 1970 <= year <= 2100:
            raise ValueError(f'is not between 1970 and 2100: it was read as the year {year}')
        try:
            return datetime.date(year, month, day).isoformat()
        except ValueError:
            raise ValueError(f'does not exist: it was read as day {day} of month {month} of {year}'
                             + self.hint(when)) from None

    def parts(self, when):
        if when['a']:
            return self.order.sort(when['a'], when['mark'], when['b'], when['c'])
        if when['compact']:
            return when['compact'][:4], when['compact'][4:6], when['compact'][6:]
        name = when['month'] or when['month2']
        month = month_number(name)
        if not month:
            raise ValueError(f'has {name!r}, which is no month that is understood')
        return when['year'] or when['year2'], month, when['day'] or when['day2']

    def hint(self, when):
        """Says what to write if the order could be another."""
        if not when['a'] or len(when['a']) == 4:
            return '; correct it'
        other = 'DMY' if self.order.of(when['mark']) == 'MDY' else 'MDY'
        return f'; correct it, or write DATES={other}'

    @staticmethod
    def century(year):
        if len(year) != 2:
            return 0
        return 2000 if int(year) < 70 else 1900

    def read_time(self, text):
        """Returns the time with its zone: midnight if there is none, UTC if it does not say."""
        if not text.strip():
            return MIDNIGHT
        time = TIME(text.rstrip())
        if not time:
            raise ValueError('has a time, or a zone, that is not understood; '
                             'write it like 23:59:00 +0100')
        hour, minute, second = int(time['hour']), int(time['minute']), int(time['second'] or 0)
        if time['half']:
            if not 1 <= hour <= 12:
                raise ValueError(f'has the hour {hour} and am or pm')
            hour = hour % 12 + (12 if time['half'][0] in 'pP' else 0)
        if hour > 23 or minute > 59 or second > 59:
            raise ValueError('has a time that does not exist')
        fraction = f".{time['fraction'][:6]}" if time['fraction'] else ''
        zone = self.read_zone(time['zone'])
        self.zones.add(bool(time['zone']))
        return f' {hour:02}:{minute:02}:{second:02}{fraction}{zone}'

    @staticmethod
    def read_zone(zone):
        zone = (zone or 'utc').lower()
        if zone in ZONES:
            return ZONES[zone] + ':00'
        sign = zone.find('+') if '+' in zone else zone.find('-')
        if sign < 0:
            raise ValueError(f'has the zone {zone.upper()}, that is not understood; '
                             'write it as +0100')
        digits = zone[sign + 1:].replace(':', '')
        hours, minutes = divmod(int(digits), 100) if len(digits) > 2 else (int(digits), 0)
        if hours > 14 or minutes > 59:
            raise ValueError(f'has the zone {zone}, which does not exist')
        return f'{zone[sign]}{hours:02}:{minutes:02}'

    def describe(self):
        self.order.describe()

    def summary(self):
        zones = ', times without a zone as UTC' if False in self.zones else ''
        return self.order.summary() + zones
