"""The expressions that random flow documents are made of: each in SQL, and as a Python function of
a row. What SQL makes null is None, what fails in SQL raises Failed. Conditions and values are found
by their SQL.

A row has customer_id, profile and contact (dicts, empty where there is none), event, entered_at,
since and now."""

from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation

FUNCTIONS = {}


class Failed(Exception):
    """The expression fails for this customer."""


def evaluate(sql, row):
    return FUNCTIONS[sql](row)


def known(sql, function):
    assert FUNCTIONS.setdefault(sql, function)
    return sql


def strict(function):
    """A function that is null where one of its arguments is."""
    return lambda *arguments: None if None in arguments else function(*arguments)


def profile(row, column):
    return row.profile.get(column)


def contact(row, column):
    return row.contact.get(column)


def property_of(row, key):
    """As ->> does: text of numbers and of true and false."""
    value = (row.contact.get('properties') or {}).get(key)
    return as_text(value)


def as_text(value):
    if isinstance(value, bool):
        return 'true' if value else 'false'
    return None if value is None else str(value)


def number(text):
    try:
        return None if text is None else Decimal(text)
    except InvalidOperation:
        raise Failed(f'invalid input syntax for type numeric: "{text}"') from None


def boolean(text):
    if text not in (None, 'true', 'false'):
        raise Failed(f'invalid input syntax for type boolean: "{text}"')
    return None if text is None else text == 'true'


@strict
def at_least(a, b):
    return a >= b


@strict
def more(a, b):
    return a > b


@strict
def same(a, b):
    return a == b


@strict
def divided(a, b):
    """Integers, as far as only the sign of the result matters, and only of positive ones."""
    if b == 0:
        raise Failed('division by zero')
    return a // b if b > 0 else -(a // -b)


@strict
def plus(moment, duration):
    return moment + duration


def amount(row):
    return number(as_text(row.event.get('amount')))


def moment_of_event(row):
    value = row.event.get('occurred_at')
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def conjunction(a, b):
    """Three-valued."""
    return False if a is False or b is False else None if None in (a, b) else True


def disjunction(a, b):
    return True if a is True or b is True else None if None in (a, b) else False


def negation(a):
    return None if a is None else not a


def orders_condition(random):
    n = random.choice([1, 2, 3, 4, 5, 6])
    return known(f'historic_number_of_orders >= {n}',
                 lambda row: at_least(profile(row, 'historic_number_of_orders'), n))


def revenue_condition(random):
    n = random.choice([40, 90, 150, 300, 500])
    return known(f'historic_clv > {n}', lambda row: more(profile(row, 'historic_clv'), n))


def group_condition(random):
    groups = random.sample(
        ['Champions', 'Loyal', 'Recent', 'Needs Attention', 'At Risk', 'Inactive'], 3)
    listed = ', '.join(f"'{g}'" for g in groups)
    return known(
        f'rfm_group IN ({listed})', lambda row: None
        if profile(row, 'rfm_group') is None else profile(row, 'rfm_group') in groups)


def consent_condition(random):
    column = random.choice(['email_consent', 'sms_consent', 'push_consent'])
    return random.choice([
        known(column, lambda row: contact(row, column)),
        known(f'NOT {column}', lambda row: negation(contact(row, column))),
        known(f'coalesce({column}, false)', lambda row: contact(row, column) is True)])


def tier_condition(random):
    tier = random.choice(['gold', 'silver'])
    return random.choice([
        known(f"properties->>'tier' = '{tier}'", lambda row: same(property_of(row, 'tier'), tier)),
        known(f"properties->>'tier' IS DISTINCT FROM '{tier}'",
              lambda row: property_of(row, 'tier') != tier)])


def zone_condition(random):
    zone = random.choice(['Europe/Warsaw', 'America/New_York'])
    return known(f"time_zone = '{zone}'", lambda row: same(contact(row, 'time_zone'), zone))


def reached_condition(random):
    return random.choice([
        known('email IS NOT NULL', lambda row: contact(row, 'email') is not None),
        known(
            "phone LIKE '+48%'", lambda row: None
            if contact(row, 'phone') is None else contact(row, 'phone').startswith('+48'))])


def customer_condition(random):
    n = random.choice([2, 3])
    return known(f'customer_id::int % {n} = 0', lambda row: int(row.customer_id) % n == 0)


def ordered_condition(random):
    return random.choice([
        known('last_order_at > entered_at',
              lambda row: more(profile(row, 'last_order_at'), row.entered_at)),
        known('coalesce(last_order_at > entered_at, false)',
              lambda row: more(profile(row, 'last_order_at'), row.entered_at) is True)])


STEADY = [
    orders_condition, revenue_condition, group_condition, consent_condition, tier_condition,
    zone_condition, reached_condition, customer_condition, ordered_condition]


def days_condition(random):
    n = random.choice([10, 30, 60, 120])
    return known(f'days_since_last_order > {n}',
                 lambda row: more(profile(row, 'days_since_last_order'), n))


def alive_condition(random):
    return random.choice([
        known('p_alive > 0.5', lambda row: more(profile(row, 'p_alive'), 0.5)),
        known("churn_risk = 'high'", lambda row: same(profile(row, 'churn_risk'), 'high')),
        known('overdue', lambda row: profile(row, 'overdue'))])


def entered_condition(random):
    n = random.choice([1, 30, 100])
    return known(f"retention.now() - entered_at > interval '{n} hours'",
                 lambda row: row.now - row.entered_at > timedelta(hours=n))


def since_condition(random):
    return known('since > entered_at', lambda row: row.since > row.entered_at)


TIMED = [days_condition, alive_condition, entered_condition]


def amount_condition(random):
    n = random.choice([25, 50, 75])
    return known(f"(event->>'amount')::numeric > {n}", lambda row: more(amount(row), n))


def event_condition(random):
    key = random.choice(['order_id', 'amount', 'scheduled_for'])
    return random.choice([
        known(f"event ? '{key}'", lambda row: key in row.event),
        known(f"event->>'{key}' IS NULL", lambda row: row.event.get(key) is None)])


EVENT = [amount_condition, event_condition]


def failing_orders(random):
    n = random.choice([1, 2, 3])
    return known(
        f'12 / (historic_number_of_orders - {n}) > 2', lambda row: more(
            divided(
                12, None if profile(row, 'historic_number_of_orders') is None else profile(
                    row, 'historic_number_of_orders') - n), 2))


def failing_visits(random):
    return known(
        "100 / (properties->>'visits')::int > 20", lambda row: more(
            divided(100, None if property_of(row, 'visits') is None else int(
                property_of(row, 'visits'))), 20))


FAILING = [failing_orders, failing_visits]


def null_condition(random):
    return known('NULL::boolean', lambda row: None)


def own_condition(random, key):
    """Of a property that set_property sets: keys are of one flow each, and end in their type."""
    if key.endswith('_n'):
        n = random.choice([1, 2, 50])
        return known(f"(properties->>'{key}')::numeric > {n}",
                     lambda row: more(number(property_of(row, key)), n))
    if key.endswith('_b'):
        return known(f"(properties->>'{key}')::boolean", lambda row: boolean(property_of(row, key)))
    return random.choice([
        known(f"properties->>'{key}' = 'yes'", lambda row: same(property_of(row, key), 'yes')),
        known(
            f"properties ? '{key}'", lambda row: None
            if contact(row, 'properties') is None else key in contact(row, 'properties'))])


def own_value(random, key):
    """An expression of the key's type, or null."""
    if random.random() < 0.15:
        return known('NULL', lambda row: None)
    if key.endswith('_n'):
        return random.choice([
            known('historic_number_of_orders',
                  lambda row: profile(row, 'historic_number_of_orders')),
            known('historic_clv', lambda row: profile(row, 'historic_clv')),
            known("event->'amount'", lambda row: row.event.get('amount'))
            if random.random() < 0.3 else known('51', lambda row: 51),
            known(f"coalesce((properties->>'{key}')::numeric, 0) + 1", lambda row:
                  (number(property_of(row, key)) or 0) + 1)])
    if key.endswith('_b'):
        return random.choice([
            known('historic_clv > 100', lambda row: more(profile(row, 'historic_clv'), 100)),
            known('email_consent', lambda row: contact(row, 'email_consent')),
            known('100 / historic_number_of_orders > 40',
                  lambda row: more(divided(100, profile(row, 'historic_number_of_orders')), 40))])
    return random.choice([
        known("'yes'", lambda row: 'yes'),
        known('rfm_group', lambda row: profile(row, 'rfm_group')),
        known("event->>'order_id'", lambda row: as_text(row.event.get('order_id')))])


def until(random, has_orders):
    """For delays: dates and times, some null for some customers."""
    n = random.choice([1, 3, 30])
    hours = timedelta(hours=24 * n)
    if has_orders and random.random() < 0.3:
        return known(f"(event->>'occurred_at')::timestamptz + interval '{n} hours'",
                     lambda row: plus(moment_of_event(row), timedelta(hours=n)))
    return random.choice([
        known(f"entered_at + interval '{24 * n} hours'", lambda row: row.entered_at + hours),
        known(f"since + interval '{n} hours'", lambda row: row.since + timedelta(hours=n)),
        known(f"last_order_at + interval '{24 * n} hours'",
              lambda row: plus(profile(row, 'last_order_at'), hours)),
        known(f'expected_date_of_next_order - {n}',
              lambda row: plus(profile(row, 'expected_date_of_next_order'), -timedelta(days=n)))])


def combined(random, parts):
    """Only of conditions that cannot fail: SQL may evaluate them in any order."""
    a, b = (random.choice(parts)(random) for _ in range(2))
    f, g = FUNCTIONS[a], FUNCTIONS[b]
    return random.choice([
        known(f'({a}) AND ({b})', lambda row: conjunction(f(row), g(row))),
        known(f'({a}) OR NOT ({b})', lambda row: disjunction(f(row), negation(g(row))))])


def steady(random):
    """Changes only with the customer's orders, group or contact."""
    return combined(random, STEADY) if random.random() < 0.2 else random.choice(STEADY)(random)


def condition(random, own=(), failing=True):
    """Any, for a split."""
    roll = random.random()
    if own and roll < 0.3:
        return own_condition(random, random.choice(own))
    if failing and roll < 0.38:
        return random.choice(FAILING)(random)
    if roll < 0.42:
        return null_condition(random)
    if roll < 0.55:
        return combined(random, STEADY + TIMED)
    return random.choice(STEADY + TIMED + EVENT + [since_condition])(random)


ENTRY = [
    orders_condition, revenue_condition, group_condition, consent_condition, tier_condition,
    zone_condition, reached_condition, customer_condition, days_condition, alive_condition]


def for_entry(random, event=True):
    """Of who is about to enter: there is no entered_at yet."""
    parts = ENTRY + ([event_condition] if event else [])
    return combined(random, parts) if random.random() < 0.3 else random.choice(
        parts + FAILING + ([amount_condition] if event else []))(random)


def for_filter(random, timed):
    """Filters are looked at with every condition that is waited for, so there they are of what does
    not change by itself.
    """
    parts = STEADY + TIMED if timed else STEADY
    return combined(random, parts) if random.random() < 0.3 else random.choice(parts +
                                                                               FAILING)(random)


# The expressions of a message's data.
DATA = {
    'orders': known('coalesce(historic_number_of_orders, 0)',
                    lambda row: profile(row, 'historic_number_of_orders') or 0),
    'customer': known("'no ' || person.customer_id", lambda row: 'no ' + row.customer_id)}
