"""A small shop in a database, and what happens there: operations, each a tuple of its name and
arguments, so that they can be played again, or only some of them."""

import json
from datetime import datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import psycopg2
import psycopg2.extras

from flow_time import UTC

ZONES = [
    'Europe/Warsaw', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kolkata', None,
    'Pacific/Auckland', 'UTC']
NAMES = ['Ann', "O'Neil", '"Ted" & <Bo>', 'Ökonom', None]
EMAILS = ['c{}@example.com', ' C{}@Example.com']
PHONES = ['+486001002{}', '0048 600-100-2{}', '+48 (600) 1002{} ', '6001002{}']
CONTACT = [
    'customer_id', 'email', 'phone', 'push_token', 'time_zone', 'email_consent', 'sms_consent',
    'push_consent', 'properties']
CHANGES = [('email_consent', 'NOT email_consent'), ('sms_consent', 'false'),
           ('push_consent', 'NOT push_consent'), ('email', 'NULL'), ('phone', "'+48999'"),
           ('phone', "'+48 600 100 201'"), ('email', "'C02@example.com'"),
           ('time_zone', "'Europe/Warsaw'"), ('time_zone', "'America/New_York'"),
           ('time_zone', 'NULL'), ('properties', """properties || '{"tier": "gold"}'"""),
           ('properties', """properties || '{"tier": "silver"}'"""),
           ('properties', "properties - 'tier'"),
           ('properties', """properties || '{"visits": 0}'""")]

SHOP = """
CREATE SCHEMA shop;
CREATE TABLE shop.orders (order_id bigint, customer_id bigint, ordered_at timestamptz,
                          amount numeric);
CREATE INDEX ON shop.orders (customer_id);
CREATE TABLE shop.refunds (order_id bigint, customer_id bigint, refunded_at timestamptz,
                           amount numeric);
CREATE INDEX ON shop.refunds (customer_id);
SELECT retention.add_metric('orders', time_zone => %(zone)s, frequency_values => '{2,4}',
                            monetary_values => '{100,300}', refit_interval => '3000 days');
SELECT retention.add_source('shop.orders', order_id => 'order_id', events => true);
SELECT retention.add_source('shop.refunds', ordered_at => 'refunded_at', order_id => 'order_id',
                            kind => 'refund', events => true);
"""
SEGMENTS = """
SELECT retention.track('shop.orders'), retention.track('shop.refunds');
CREATE VIEW shop.spenders AS SELECT customer_id FROM retention.profile
  WHERE metric = 'orders' AND historic_clv > 250;
CREATE VIEW shop.silent AS SELECT customer_id FROM retention.profile
  WHERE metric = 'orders' AND days_since_last_order > 45;
CREATE VIEW shop.gold AS SELECT customer_id FROM retention.contact
  WHERE properties->>'tier' = 'gold';
SELECT retention.add_segment(view)
  FROM unnest('{shop.spenders,shop.silent,shop.gold}'::regclass[]) AS view;
SELECT retention.add_coupon_pool('small', ARRAY(SELECT 'S' || i FROM generate_series(1, 6) AS i)),
       retention.add_coupon_pool('large', ARRAY(SELECT 'L' || i FROM generate_series(1, 500) AS i));
-- Every issue of a code, for it may go back in the same tick.
CREATE TABLE shop.issue (number bigint GENERATED ALWAYS AS IDENTITY, pool text, code text,
                         enrollment_id bigint, node text);
CREATE FUNCTION shop.note_issue() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO shop.issue (pool, code, enrollment_id, node)
    VALUES (NEW.pool, NEW.code, NEW.enrollment_id, NEW.node);
  RETURN NULL;
END $$;
CREATE TRIGGER note_issue AFTER UPDATE ON retention.coupon FOR EACH ROW
  WHEN (NEW.enrollment_id IS NOT NULL AND OLD.enrollment_id IS DISTINCT FROM NEW.enrollment_id)
  EXECUTE FUNCTION shop.note_issue();
"""


def connect(database):
    connection = psycopg2.connect(dbname=database, application_name='flow_properties')
    connection.autocommit = True
    psycopg2.extras.register_default_jsonb(connection,
                                           loads=lambda text: json.loads(text, parse_float=Decimal))
    return connection


class World:
    """The database, with what is done to it."""

    def __init__(self, connection, zone):
        self.connection, self.zone = connection, zone
        self.now = None
        self.seen = {'segment_change': 0, 'rfm_change': 0, 'order_event': 0}
        self.buckets = {}

    def run(self, sql, **values):
        with self.connection.cursor() as cursor:
            cursor.execute(sql, values or None)

    def rows(self, sql, **values):
        with self.connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row)) for row in cursor]

    def columns(self, relation):
        with self.connection.cursor() as cursor:
            cursor.execute(f'SELECT * FROM {relation} LIMIT 0')
            return [column.name for column in cursor.description]

    def value(self, sql, **values):
        return next(iter(self.rows(sql, **values)[0].values()))

    def bucket(self, key, salt):
        if (key, salt) not in self.buckets:
            self.buckets[key, salt] = self.value('SELECT retention.bucket(%(key)s, %(salt)s)',
                                                 key=key,
                                                 salt=salt)
        return self.buckets[key, salt]

    def set_clock(self, moment):
        self.now = moment
        self.run("SELECT set_config('retention.as_of', %(now)s, false)", now=moment.isoformat())

    # Operations.

    def do_shop(self, moment):
        self.set_clock(moment)
        self.run(SHOP, zone=self.zone)

    def do_contact(self, *values):
        values = dict(zip(CONTACT, values))
        self.run(
            f'INSERT INTO retention.contact ({", ".join(CONTACT)}) '
            f'VALUES ({", ".join(f"%({c})s" for c in CONTACT)})',
            **values)

    def do_order(self, *values):
        self.run('INSERT INTO shop.orders VALUES (%(id)s, %(customer)s, %(at)s, %(amount)s)',
                 **dict(zip(('id', 'customer', 'at', 'amount'), values)))

    def do_refund(self, *values):
        self.run('INSERT INTO shop.refunds VALUES (%(id)s, %(customer)s, %(at)s, %(amount)s)',
                 **dict(zip(('id', 'customer', 'at', 'amount'), values)))

    def do_change(self, customer_id, column, value):
        self.run(f'UPDATE retention.contact SET {column} = {value} WHERE customer_id = %(id)s',
                 id=customer_id)

    def do_open(self):
        self.run('CALL retention.refresh()')
        self.run(SEGMENTS)
        self.read_news()

    def do_moment(self, moment):
        self.set_clock(moment)
        self.run('CALL retention.process_changes(%(now)s)', now=moment)

    def do_refresh(self):
        self.run('CALL retention.refresh(as_of => %(now)s)', now=self.now)

    # What the interpreter is told.

    def read_news(self):
        news = {}
        for table, key in (('segment_change', 'change_id'), ('rfm_change', 'change_id'),
                           ('order_event', 'event_id')):
            rows = self.rows(
                f'SELECT * FROM retention.{table} WHERE {key} > %(seen)s ORDER BY {key}',
                seen=self.seen[table])
            self.seen[table] = max([self.seen[table]] + [row[key] for row in rows])
            news[table + 's'] = [SimpleNamespace(**row) for row in rows]
        return news

    def read_profiles(self):
        return {
            row['customer_id']: row
            for row in self.rows("SELECT * FROM retention.profile WHERE metric = 'orders'")}

    def read_contacts(self):
        return {
            row.pop('customer_id'): row
            for row in self.rows(f'SELECT {", ".join(CONTACT)}, locale FROM retention.contact')}

    def read_facts(self):
        return SimpleNamespace(profiles=self.read_profiles(),
                               contacts=self.read_contacts(),
                               **self.read_news())


class Shop:
    """Chooses what happens: orders of more than a year, then orders, refunds, and contacts that
    change.
    """

    def __init__(self, random):
        self.random = random
        self.customers = [str(n) for n in range(1, random.randint(30, 50))]
        self.has_all_contacts = random.random() < 0.7
        # Some have the address of another, in another spelling.
        self.share = random.choice([0, 0.2, 0.5])
        self.orders = []

    def beginning(self, now):
        """Every seventh customer has no orders, in some worlds every ninth has no contact."""
        yield 'shop', now
        for customer_id in self.customers:
            if int(customer_id) % 7:
                for _ in range(self.random.choice([1, 1, 2, 3, 5])):
                    yield self.order(
                        customer_id,
                        now - timedelta(minutes=self.random.randrange(60, 60 * 24 * 400)))
            if int(customer_id) % 9 or self.has_all_contacts:
                yield self.contact(customer_id)
        yield ('open',)

    def contact(self, customer_id):
        properties = {
            'tier': self.random.choice(['gold', 'silver', 'none']),
            'visits': self.random.choice([0, 1, 4, 7])}
        name = self.random.choice(NAMES)
        if name is not None:
            properties['first_name'] = name
        addresses = [
            self.random.choice(spellings).format(self.holder(customer_id))
            for spellings in (EMAILS, PHONES, ['token-{}'])]
        return ('contact', customer_id, *(address if self.random.random() < 0.85 else None
                                          for address in addresses), self.random.choice(ZONES),
                *(self.random.random() < 0.8 for _ in range(3)), json.dumps(properties))

    def holder(self, customer_id):
        shared = self.random.random() < self.share
        return f'{self.random.randint(1, 3) if shared else int(customer_id):02}'

    def happen(self, now, until):
        for _ in range(self.random.choice([0, 1, 2, 4, 8])):
            moment = max((now + (until - now) * self.random.random()).replace(microsecond=0), now)
            roll = self.random.random()
            if roll < 0.5:
                yield self.order(self.random.choice(self.customers), moment)
            elif roll < 0.66:
                yield self.refund(moment)
            else:
                yield ('change', self.random.choice(self.customers), *self.random.choice(CHANGES))

    def order(self, customer_id, moment):
        order_id, amount = len(self.orders) + 1, Decimal(self.random.randrange(500, 12000)) / 100
        self.orders.append((order_id, customer_id, amount))
        return 'order', order_id, customer_id, moment, amount

    def refund(self, moment):
        order_id, customer_id, amount = self.random.choice(self.orders[-40:])
        return 'refund', order_id, customer_id, moment, self.random.choice([
            amount, Decimal('3.50')])


def start_of_world(random):
    day = random.choice([
        datetime(2024, 3, 5),
        datetime(2024, 3, 28),
        datetime(2024, 10, 2),
        datetime(2024, 10, 25)])
    return day.replace(tzinfo=UTC) + timedelta(seconds=random.randrange(86400))


def next_moment(random, now, dues):
    """Minutes, hours, days; at times exactly when something is due; rarely half a year."""
    dues = sorted(due for due in dues if now < due < now + timedelta(days=10))
    roll = random.random()
    if dues and roll < 0.2:
        return random.choice(dues[:3])
    if roll < 0.23:
        return now + timedelta(days=random.randrange(150, 200))
    if roll < 0.5:
        step = timedelta(minutes=random.randrange(1, 90))
    elif roll < 0.8:
        step = timedelta(minutes=random.randrange(60, 1200))
    else:
        step = timedelta(hours=random.randrange(20, 90))
    return now + step + timedelta(seconds=random.randrange(60))
