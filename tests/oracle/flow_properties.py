"""Random flows in random worlds: after every tick the engine must show what the reference interpreter says.
For t/110_flow_properties.pl, which starts the server. Prints lines "ok - ..." and "not ok - ...", and notes, which begin with #.

RETENTION_SEED is the first world's seed, the others count up from it; RETENTION_FLOWS is the number of documents."""

import json
import os
import random
import sys
import time
from collections import Counter
from datetime import timedelta

import flow_cases
import flow_expressions
from flow_documents import CHANNELS, Generator
from flow_interpreter import RUNNING, Ambiguous, Interpreter
from flow_world import World, connect, next_moment, start_of_world

FLOWS_OF_A_WORLD = 4
MOMENTS = 30
# Readings that the generator need not avoid, or "all".
DECIDED = os.environ.get('RETENTION_DECIDED', '').split(',')


class Play:
    """One world, its flows, and the interpreter beside the engine."""

    def __init__(self, connection, seed):
        self.random = random.Random(seed)
        self.world = World(connection, self.random, start_of_world(self.random))
        self.has_held = self.random.random() < 0.3
        self.has_all_contacts = self.world.has_all_contacts
        self.names = [f'f{n}' for n in range(1, FLOWS_OF_A_WORLD + 1)]
        self.channels = dict(zip(self.names, self.choose_channels()))
        self.interpreter = Interpreter(self.world.bucket, self.world.zone, DECIDED)
        self.profiles = {}

    def choose_channels(self):
        """In half of the worlds each flow has its own: who of several sends first is another question."""
        if self.random.random() < 0.5:
            return [CHANNELS] * FLOWS_OF_A_WORLD
        return [[channel] for channel in self.random.sample(CHANNELS, len(CHANNELS))]

    def tell(self, what):
        self.world.steps.append(f'{self.world.now} {what}')

    # Statuses and documents change right after a tick, when nothing is left to do.

    def open(self):
        self.world.open()
        for name in self.names:
            self.publish(name)
            if self.random.random() < 0.85:
                self.set_status(name, 'live')
        self.profiles = self.world.read_facts().profiles

    def publish(self, name):
        below = self.names[:self.names.index(name)]
        document = Generator(self.random, name, below, self).document()
        self.tell(f'publish {json.dumps(document)}')
        self.world.run('SELECT retention.create_flow(%(document)s)', document=json.dumps(document))
        self.world.run('SELECT retention.publish(%(name)s)', name=name)
        self.interpreter.publish(document, self.world.now)

    def set_status(self, name, status, node=None):
        self.tell(f'set_status {name} {status} {node or ""}')
        self.world.run('SELECT retention.set_status(%(name)s, %(status)s, %(node)s)', name=name, status=status, node=node)
        self.interpreter.set_status(name, status, self.world.now, node)

    def change_something(self):
        name = self.random.choice(self.names)
        flow, roll = self.interpreter.flows[name], self.random.random()
        if flow.status == 'archived':
            return
        if flow.status not in RUNNING:
            if roll < 0.4:
                self.set_status(name, 'live')
        elif roll < 0.06:
            self.set_status(name, 'paused')
        elif roll < 0.075:
            self.set_status(name, 'archived')
        elif roll < 0.14 and self.has_held:
            self.set_status(name, 'live' if flow.status == 'manual' else 'manual')
        elif roll < 0.2 and not flow.node_status:
            self.publish(name)
        elif roll < 0.3 and len(flow.versions) == 1:
            self.change_message(flow)

    def change_message(self, flow):
        """A status of a message outlives versions, or does not: nothing says which. So only of flows with one."""
        messages = [node['id'] for node in flow.document['nodes'] if node['type'] == 'message']
        if messages:
            self.set_status(flow.name, self.random.choice(['live', 'draft'] + ['manual'] * self.has_held), self.random.choice(messages))

    def enroll(self):
        for name in self.names:
            flow = self.interpreter.flows[name]
            is_manual = flow.document['trigger']['type'] == 'manual'
            if flow.status not in RUNNING or self.random.random() > (0.5 if is_manual else 0.06):
                continue
            for customer_id in self.random.sample(self.world.customers, self.random.randint(1, 5) if is_manual else 1):
                event = self.random.choice([{}, {'amount': 42.5, 'note': 'a "b" <c>'}, {'amount': 60, 'order_id': 'x'}, {'amount': 'many'}])
                self.tell(f'enroll {name} {customer_id} {event}')
                self.world.run('SELECT retention.enroll(%(name)s, %(id)s, %(event)s)', name=name, id=customer_id, event=json.dumps(event))
                self.interpreter.enroll(name, customer_id, event)

    # A moment.

    def step(self):
        world, dues = self.world, {e.due_at for e in self.interpreter.active() if e.waits}
        moment = next_moment(self.random, world.now, dues)
        world.happen(moment)
        world.set_clock(moment)
        world.run('CALL retention.process_changes(%(now)s)', now=moment)
        if self.random.random() < 0.25:
            self.tell('refresh')
            world.run('CALL retention.refresh(as_of => %(now)s)', now=moment)
        self.enroll()
        facts = world.read_facts()
        facts.previous_profiles, self.profiles = self.profiles, facts.profiles
        self.tell('tick')
        self.tick()
        self.read_results()
        self.interpreter.tick(moment, facts)
        return self.differences()

    def tick(self):
        """run_flows until nothing is due, or so many ticks that nothing is: each flow may enrol in those below it."""
        if self.random.random() < 0.5:
            self.world.run('CALL retention.run_flows(%(now)s)', now=self.world.now)
        else:
            for _ in range(FLOWS_OF_A_WORLD + 1):
                self.world.run('CALL retention.tick(%(now)s, 100000)', now=self.world.now)

    # What the engine shows, by the keys that the interpreter knows.

    def read_results(self):
        self.shown, self.shown_messages, keys = {}, {}, {}
        counts = Counter()
        for row in self.world.rows('SELECT * FROM retention.flow_enrollment ORDER BY enrollment_id'):
            place = row['flow'], row['customer_id'], row['entered_at']
            keys[row['enrollment_id']] = key = (*place, counts[place])
            counts[place] += 1
            self.shown[key] = row
        for row in self.world.rows('SELECT * FROM retention.message'):
            key = keys.get(row['enrollment_id']), row['node']
            self.shown_messages[key] = row
            assert row['idempotency_key'] == f'{row["enrollment_id"]}:{row["node"]}', row['idempotency_key']
        coupons = self.world.rows('SELECT pool, code, enrollment_id, node FROM retention.coupon')
        taken = {(keys.get(row['enrollment_id']), row['node']): row['code'] for row in coupons if row['enrollment_id'] is not None}
        self.left = Counter(row['pool'] for row in coupons if row['enrollment_id'] is None)
        self.interpreter.coupon_taken = lambda key, node: taken.get((key, node))
        self.contacts_shown = self.world.read_contacts()

    def differences(self):
        found = compare('enrollment', {e.key: enrollment_fields(e) for e in self.interpreter.enrollments}, self.shown, enrollment_shown)
        found += compare('message', {(m.enrollment.key, m.node): message_fields(m) for m in self.interpreter.messages}, self.shown_messages, message_shown)
        found += [(key, f'no coupon of pool {pool}, though {self.left[pool]} are left') for pool, key in self.interpreter.refused_coupons if self.left[pool]]
        expected = {customer_id: contact.get('properties') for customer_id, contact in self.interpreter.contacts.items()}
        shown = {customer_id: contact['properties'] for customer_id, contact in self.contacts_shown.items()}
        found += [((None, customer_id), f'properties {shown.get(customer_id)} instead of {expected.get(customer_id)}')
                  for customer_id in sorted(expected.keys() | shown.keys()) if expected.get(customer_id) != shown.get(customer_id)]
        return found

    def report(self, differences):
        """The first few, and all that is known of the customers they are about."""
        lines = [f'{len(differences)} differences at {self.world.now}']
        for key, what in differences[:5]:
            lines.append(f'{key}: {what}')
        key = differences[0][0]
        key = key[0] if isinstance(key[0], tuple) else key
        flows = {key[0]} if key[0] else set()
        for e in self.interpreter.enrollments:
            if e.customer_id == key[1] and (e.flow.name == key[0] or not key[0]):
                lines += [f'  {e.flow.name} version {e.version}: {line}' for line in e.story]
        lines += [f'  {step}' for step in self.world.steps if f'customer {key[1]} ' in step or f'contact {key[1]}:' in step or 'set_status' in step]
        lines += [json.dumps(document) for name in flows for document in self.interpreter.flows[name].versions]
        return lines


# Fields are compared one by one. Where a text is the engine's own, only whether there is one.

def enrollment_fields(e):
    fields = {'version': e.version, 'node': e.node, 'outcome': e.outcome, 'is_holdout': e.is_holdout}
    fields['due_at'] = e.due_at
    if e.outcome is None:
        fields['since'] = e.since
    fields['has_reason'] = e.outcome == 'error'
    return fields


def enrollment_shown(row, expected):
    shown = dict(row, has_reason=row['reason'] is not None)
    return {key: shown[key] for key in expected}


def message_fields(m):
    fields = {'channel': m.channel, 'state': m.state, 'queued_at': m.queued_at}
    if m.state == 'error':
        fields['has_reason'] = True
    else:
        fields['reason'] = m.reason
    if m.state in ('ready', 'held'):
        fields.update(address=m.address, subject=m.subject, body=m.body)
    return fields


def message_shown(row, expected):
    shown = dict(row, has_reason=bool(row['reason']))
    return {key: shown[key] for key in expected}


def compare(kind, expected, shown, of_row):
    found = [(key, f'no such {kind}, but {expected[key]} expected') for key in expected if key not in shown]
    found += [(key, f'unexpected {kind} {dict(shown[key])}') for key in shown if key not in expected]
    for key in expected.keys() & shown.keys():
        row = of_row(shown[key], expected[key])
        if row != expected[key]:
            wrong = {name: (row[name], 'instead of', value) for name, value in expected[key].items() if row[name] != value}
            found.append((key, f'{kind}: {wrong}'))
    return sorted(found, key=str)


def play(seed, total):
    """A world in a database of its own. Returns the lines about what is wrong."""
    create_database(f'world_{seed}', 'flows')
    connection = connect(f'world_{seed}')
    game = Play(connection, seed)
    stopped, lines, moments = '', [], 0
    try:
        game.open()
        while moments < MOMENTS and not lines:
            moments += 1
            differences = game.step()
            lines = game.report(differences) if differences else []
            game.change_something()
    except Ambiguous as doubt:
        stopped = f', then stopped: {doubt}'
    connection.close()
    count(game, total, moments, stopped)
    result = 'not ok' if lines else 'ok'
    print(f'{result} - world {seed}: {moments} moments, {len(game.interpreter.enrollments)} enrollments, {len(game.interpreter.messages)} messages{stopped}')
    return lines


def count(game, total, moments, stopped):
    total['moments played'] += moments
    total['worlds stopped'] += bool(stopped)
    for e in game.interpreter.enrollments:
        total[f'outcome {e.outcome}'] += 1
    for m in game.interpreter.messages:
        total[f'{m.state} {m.reason if m.state != "error" else ""}'] += 1


def check_expressions(seed):
    """In a world without flows."""
    random_ = random.Random(seed)
    world = World(connect('expressions'), random_, start_of_world(random_))
    world.open()
    for what, found in (('expressions', flow_expressions.differing(world, random_)), ('local times', flow_expressions.differing_times(world, random_))):
        print(f'{"not ok" if found else "ok"} - {what} mean the same in SQL and here')
        for line in found[:5]:
            print('#', line)
    world.connection.close()


def create_database(name, template='template1'):
    with connect('postgres').cursor() as cursor:
        cursor.execute(f'CREATE DATABASE {name} TEMPLATE {template}')


def main():
    seed = int(os.environ.get('RETENTION_SEED') or time.time())
    worlds = max(1, int(os.environ.get('RETENTION_FLOWS') or 40) // FLOWS_OF_A_WORLD)
    print(f'# RETENTION_SEED={seed} RETENTION_FLOWS={worlds * FLOWS_OF_A_WORLD} has these worlds again')
    create_database('flows')
    with connect('flows').cursor() as cursor:
        cursor.execute('CREATE EXTENSION retention')
    create_database('expressions', 'flows')
    check_expressions(seed)
    total = Counter()
    for number in range(worlds):
        for line in play(seed + number, total):
            print('#', line)
        sys.stdout.flush()
    print('#', ', '.join(f'{what}: {n}' for what, n in sorted(total.items())))


if __name__ == '__main__':
    flow_cases.run()
    main()
