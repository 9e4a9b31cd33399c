"""Whether the expressions of flow_vocabulary.py mean in Python what they mean in SQL: without this,
a difference found later could be the vocabulary's own. For all customers of a world, and events of
every kind."""

import json
from datetime import datetime, timedelta
from types import SimpleNamespace

import psycopg2

import flow_time
import flow_vocabulary
from flow_documents import Generator
from flow_world import ZONES

EVENTS = [{}, {'amount': 42.5}, {'amount': 'many', 'order_id': 'x'},
          {'amount': 60, 'order_id': 7, 'occurred_at': '2024-03-01T10:00:00+00:00'}]

ROWS = """
SELECT person.customer_id, ({sql}) AS value FROM (
  SELECT coalesce(p.customer_id, c.customer_id) AS customer_id, {profile}, {contact},
         %(event)s::jsonb AS event, %(entered)s::timestamptz AS entered_at,
         %(since)s::timestamptz AS since
  FROM (SELECT * FROM retention.profile WHERE metric = 'orders') AS p
       FULL JOIN retention.contact c ON c.customer_id = p.customer_id) AS person
"""


def make_expressions(random):
    """Making documents registers their expressions."""
    world = SimpleNamespace(channels={'f1': ['email']}, has_held=True, batch=None)
    for _ in range(150):
        Generator(random, 'f1', [], world).document()
    return sorted(flow_vocabulary.FUNCTIONS)


def rows_of_expression(world, query, values, customers):
    """As SQL has it: {customer_id: value or "fails"}. All at once, unless it fails for one of them.
    """
    try:
        return {row['customer_id']: row['value'] for row in world.rows(query, **values)}
    except psycopg2.Error:
        return {
            customer_id: value_of_one(world, query, values, customer_id)
            for customer_id in customers}


def value_of_one(world, query, values, customer_id):
    try:
        rows = world.rows(query + ' WHERE person.customer_id = %(id)s', id=customer_id, **values)
        return rows[0]['value'] if rows else None
    except psycopg2.Error:
        return 'fails'


def value_here(sql, row):
    try:
        return flow_vocabulary.evaluate(sql, row)
    except flow_vocabulary.Failed:
        return 'fails'


def differing(world, customers, random):
    facts = world.read_facts()
    names = world.columns('retention.profile'), world.columns('retention.contact')
    profile, contact = (', '.join(f'{letter}.{name}' for name in columns if name != 'customer_id')
                        for letter, columns in zip('pc', names))
    found = []
    for sql in make_expressions(random):
        event, entered_at = random.choice(EVENTS), world.now - timedelta(hours=random.randrange(60))
        values = {'event': json.dumps(event), 'entered': entered_at, 'since': world.now}
        query = ROWS.format(sql=sql.replace('%', '%%'), profile=profile, contact=contact)
        for customer_id, value in rows_of_expression(world, query, values, customers).items():
            here = value_here(
                sql,
                SimpleNamespace(customer_id=customer_id,
                                profile=facts.profiles.get(customer_id, {}),
                                contact=facts.contacts.get(customer_id, {}),
                                event=event,
                                entered_at=entered_at,
                                since=world.now,
                                now=world.now))
            if here != value or isinstance(here, bool) != isinstance(value, bool):
                found.append(f'{sql} of {customer_id} with {event}: {here} instead of {value}')
    return found


def differing_times(world, random):
    """Local times near the changes of the clocks, as PostgreSQL has them."""
    found = []
    for zone in [zone for zone in ZONES if zone]:
        for day in ('2024-03-10', '2024-03-31', '2024-04-07', '2024-09-29', '2024-10-06',
                    '2024-10-27', '2024-11-03'):
            local_time = datetime.fromisoformat(day) + timedelta(minutes=random.randrange(300))
            there = world.value('SELECT %(local)s::timestamp AT TIME ZONE %(zone)s',
                                local=local_time,
                                zone=zone)
            if flow_time.instant(local_time, zone) != there:
                found.append(
                    f'{local_time} in {zone}: {flow_time.instant(local_time, zone)} '
                    f'instead of {there}')
    return found
