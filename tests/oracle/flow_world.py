"""A small shop in a database, whose customers order, change their minds and move, for flow_properties.py."""

import json
from datetime import datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import psycopg2
import psycopg2.extras

from flow_time import UTC

ZONES = ['Europe/Warsaw', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kolkata', None, 'Pacific/Auckland', 'UTC']
NAMES = ['Ann', "O'Neil", '"Ted" & <Bo>', 'Ökonom', None]

SHOP = """
CREATE SCHEMA shop;
CREATE TABLE shop.orders (order_id bigint, customer_id bigint, ordered_at timestamptz, amount numeric);
CREATE INDEX ON shop.orders (customer_id);
CREATE TABLE shop.refunds (order_id bigint, customer_id bigint, refunded_at timestamptz, amount numeric);
CREATE INDEX ON shop.refunds (customer_id);
SELECT retention.add_metric('orders', time_zone => %(zone)s, frequency_values => '{2,4}', monetary_values => '{100,300}', refit_interval => '3000 days');
SELECT retention.add_source('shop.orders', order_id => 'order_id', events => true);
SELECT retention.add_source('shop.refunds', ordered_at => 'refunded_at', order_id => 'order_id', kind => 'refund', events => true);
"""
SEGMENTS = """
SELECT retention.track('shop.orders'), retention.track('shop.refunds');
CREATE VIEW shop.spenders AS SELECT customer_id FROM retention.profile WHERE metric = 'orders' AND historic_clv > 250;
CREATE VIEW shop.silent AS SELECT customer_id FROM retention.profile WHERE metric = 'orders' AND days_since_last_order > 45;
CREATE VIEW shop.gold AS SELECT customer_id FROM retention.contact WHERE properties->>'tier' = 'gold';
SELECT retention.add_segment(view) FROM unnest('{shop.spenders,shop.silent,shop.gold}'::regclass[]) AS view;
SELECT retention.add_coupon_pool('small', ARRAY(SELECT 'S' || i FROM generate_series(1, 6) AS i)), retention.add_coupon_pool('large', ARRAY(SELECT 'L' || i FROM generate_series(1, 500) AS i));
"""


def connect(database):
    connection = psycopg2.connect(dbname=database, application_name='flow_properties')
    connection.autocommit = True
    psycopg2.extras.register_default_jsonb(connection, loads=lambda text: json.loads(text, parse_float=Decimal))
    return connection


class World:
    def __init__(self, connection, random, start):
        self.connection, self.random = connection, random
        self.now = start
        self.zone = random.choice(['UTC', 'Europe/Warsaw'])
        self.customers = [str(n) for n in range(1, random.randint(30, 50))]
        self.has_all_contacts = random.random() < 0.7
        self.orders = []
        self.seen = {'segment_change': 0, 'rfm_change': 0, 'order_event': 0}
        self.buckets = {}
        self.steps = []

    # The database.

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

    def set_clock(self, moment):
        self.now = moment
        self.run("SELECT set_config('retention.as_of', %(now)s, false)", now=moment.isoformat())

    def bucket(self, key, salt):
        if (key, salt) not in self.buckets:
            self.buckets[key, salt] = self.value('SELECT retention.bucket(%(key)s, %(salt)s)', key=key, salt=salt)
        return self.buckets[key, salt]

    # The beginning: orders of more than a year. Every seventh customer has none, in some worlds every ninth has no contact.

    def open(self):
        self.set_clock(self.now)
        self.run(SHOP, zone=self.zone)
        for customer_id in self.customers:
            if int(customer_id) % 7:
                for _ in range(self.random.choice([1, 1, 2, 3, 5])):
                    self.order(customer_id, self.now - timedelta(minutes=self.random.randrange(60, 60 * 24 * 400)))
            if int(customer_id) % 9 or self.has_all_contacts:
                self.add_contact(customer_id)
        self.run('CALL retention.refresh()')
        self.run(SEGMENTS)
        self.read_news()

    def add_contact(self, customer_id):
        properties = {'tier': self.random.choice(['gold', 'silver', 'none']), 'visits': self.random.choice([0, 1, 4, 7])}
        name = self.random.choice(NAMES)
        if name is not None:
            properties['first_name'] = name
        maybe = lambda value: value if self.random.random() < 0.85 else None
        self.run("""INSERT INTO retention.contact (customer_id, email, phone, push_token, time_zone, locale, email_consent, sms_consent, push_consent, properties)
                    VALUES (%(id)s, %(email)s, %(phone)s, %(push)s, %(zone)s, 'pl', %(e)s, %(s)s, %(p)s, %(properties)s)""",
                 id=customer_id, email=maybe(f'c{customer_id}@example.com'), phone=maybe(f'+{self.random.choice([1, 48])}555{customer_id}'),
                 push=maybe(f'token-{customer_id}'), zone=self.random.choice(ZONES), e=self.random.random() < 0.8, s=self.random.random() < 0.8,
                 p=self.random.random() < 0.8, properties=json.dumps(properties))

    # What happens between two moments.

    def happen(self, until):
        for _ in range(self.random.choice([0, 1, 2, 4, 8])):
            moment = self.now + (until - self.now) * self.random.random()
            what = self.random.choice([self.happen_order, self.happen_order, self.happen_order, self.happen_refund, self.happen_contact, self.happen_contact])
            what(moment.replace(microsecond=0))

    def happen_order(self, moment):
        self.order(self.random.choice(self.customers), max(moment, self.now))

    def order(self, customer_id, moment):
        order_id, amount = len(self.orders) + 1, Decimal(self.random.randrange(500, 12000)) / 100
        self.orders.append((order_id, customer_id, amount))
        self.steps.append(f'{moment} customer {customer_id} orders for {amount}')
        self.run('INSERT INTO shop.orders VALUES (%(id)s, %(customer)s, %(at)s, %(amount)s)', id=order_id, customer=customer_id, at=moment, amount=amount)

    def happen_refund(self, moment):
        order_id, customer_id, amount = self.random.choice(self.orders[-40:])
        amount = self.random.choice([amount, Decimal('3.50')])
        self.steps.append(f'{moment} customer {customer_id} gets {amount} back for order {order_id}')
        self.run('INSERT INTO shop.refunds VALUES (%(id)s, %(customer)s, %(at)s, %(amount)s)', id=order_id, customer=customer_id, at=max(moment, self.now), amount=amount)

    def happen_contact(self, moment):
        column, value = self.random.choice([
            ('email_consent', 'NOT email_consent'), ('sms_consent', 'false'), ('push_consent', 'NOT push_consent'), ('email', 'NULL'), ('phone', "'+48999'"),
            ('time_zone', "'Europe/Warsaw'"), ('time_zone', "'America/New_York'"), ('time_zone', 'NULL'),
            ('properties', """properties || '{"tier": "gold"}'"""), ('properties', """properties || '{"tier": "silver"}'"""),
            ('properties', "properties - 'tier'"), ('properties', """properties || '{"visits": 0}'""")])
        customer_id = self.random.choice(self.customers)
        self.steps.append(f'{moment} contact {customer_id}: {column} = {value}')
        self.run(f'UPDATE retention.contact SET {column} = {value} WHERE customer_id = %(id)s', id=customer_id)

    # What the interpreter is told.

    def read_news(self):
        news = {}
        for table, key in (('segment_change', 'change_id'), ('rfm_change', 'change_id'), ('order_event', 'event_id')):
            rows = self.rows(f'SELECT * FROM retention.{table} WHERE {key} > %(seen)s ORDER BY {key}', seen=self.seen[table])
            self.seen[table] = max([self.seen[table]] + [row[key] for row in rows])
            news[table + 's'] = [SimpleNamespace(**row) for row in rows]
        return news

    def read_facts(self):
        profiles = {row['customer_id']: row for row in self.rows("SELECT * FROM retention.profile WHERE metric = 'orders'")}
        return SimpleNamespace(profiles=profiles, contacts=self.read_contacts(), **self.read_news())

    def read_contacts(self):
        contacts = self.rows('SELECT customer_id, email, phone, push_token, time_zone, locale, email_consent, sms_consent, push_consent, properties FROM retention.contact')
        return {row.pop('customer_id'): row for row in contacts}


def start_of_world(random):
    day = random.choice([datetime(2024, 3, 5), datetime(2024, 3, 28), datetime(2024, 10, 2), datetime(2024, 10, 25)])
    return day.replace(tzinfo=UTC) + timedelta(seconds=random.randrange(86400))


def next_moment(random, now, dues):
    """Minutes, hours, days; at times exactly when something is due; rarely half a year."""
    dues = sorted(due for due in dues if now < due < now + timedelta(days=10))
    roll = random.random()
    if dues and roll < 0.2:
        return random.choice(dues[:3])
    if roll < 0.23:
        return now + timedelta(days=random.randrange(150, 200))
    unit = timedelta(minutes=random.randrange(1, 90)) if roll < 0.5 else timedelta(minutes=random.randrange(60, 1200)) if roll < 0.8 else timedelta(hours=random.randrange(20, 90))
    return now + unit + timedelta(seconds=random.randrange(60))
