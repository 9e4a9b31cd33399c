"""The engine and the interpreter side by side: each operation is done to both, and after every tick
they are compared.
"""

import json
from collections import Counter
from datetime import date

from flow_interpreter import Interpreter
from flow_outbox import normal_address
from flow_world import World

# So many flows at most enter each other in a row.
FLOWS = 4


class Game:
    def __init__(self, connection, zone, decided=()):
        self.world = World(connection, zone)
        self.interpreter = Interpreter(self.world.bucket, zone, decided)
        self.done = []
        self.keys = {}

    def do(self, *operation):
        """Returns the differences that a tick shows."""
        self.done.append((self.world.now, *operation))
        name, *arguments = operation
        return getattr(self if hasattr(self, f'do_{name}') else self.world,
                       f'do_{name}')(*arguments)

    def do_publish(self, document):
        self.world.run('SELECT retention.create_flow(%(document)s)', document=json.dumps(document))
        self.world.run('SELECT retention.publish(%(name)s)', name=document['name'])
        self.interpreter.publish(document, self.world.now)

    def do_set_status(self, name, status, node=None):
        self.world.run('SELECT retention.set_status(%(name)s, %(status)s, %(node)s)',
                       name=name,
                       status=status,
                       node=node)
        self.interpreter.set_status(name, status, self.world.now, node)

    def do_enroll(self, name, customer_id, event):
        self.world.run('SELECT retention.enroll(%(name)s, %(id)s, %(event)s)',
                       name=name,
                       id=customer_id,
                       event=json.dumps(event))
        self.interpreter.enroll(name, customer_id, event)

    def do_suppress(self, channel, address):
        self.world.run('SELECT retention.suppress(%(channel)s, %(address)s)',
                       channel=channel,
                       address=address)
        self.interpreter.suppressed.add((channel, normal_address(channel, address)))

    # Senders: what they get is compared at once, what becomes of it after the next tick.

    def do_claim(self, channel, what_then):
        self.interpreter.contacts = self.world.read_contacts()
        ids = {
            row['message_id']: (self.keys[row['enrollment_id']], row['node']) for row in
            self.world.rows('SELECT message_id, enrollment_id, node FROM retention.message')}
        rows = self.world.rows(
            'SELECT message_id, address FROM retention.claim_messages(%(channel)s, 100000)',
            channel=channel)
        claimed = self.interpreter.claim(channel, self.world.now)
        self.send(what_then, [row['message_id'] for row in rows], claimed)
        return compare('claim', {m.key: {'address': m.address} for m in claimed},
                       {ids[row['message_id']]: row for row in rows}, only)

    def send(self, what_then, ids, claimed):
        if what_then == 'ack':
            self.world.run('SELECT retention.ack(%(ids)s)', ids=ids)
            self.interpreter.ack(claimed)
        elif what_then in ('fail', 'give up'):
            self.world.run("SELECT retention.fail(%(ids)s, 'refused', %(permanent)s)",
                           ids=ids,
                           permanent=what_then == 'give up')
            self.interpreter.fail(claimed, what_then == 'give up')

    def do_approve(self):
        ids = [
            row['message_id'] for row in self.world.rows(
                "SELECT message_id FROM retention.message "
                "WHERE state = 'held' AND reason = 'approval'")]
        self.world.run('SELECT retention.approve(%(ids)s)', ids=ids)
        self.interpreter.approve({
            m.key for m in self.interpreter.messages if m.reason == 'approval'})

    def do_tick(self, batch):
        """run_flows until nothing is due, so many at a time; or so many ticks that nothing is."""
        facts = self.world.read_facts()
        free, issues = self.free_coupons(), self.world.value(
            'SELECT coalesce(max(number), 0) FROM shop.issue')
        if batch is not None:
            self.world.run('CALL retention.run_flows(%(now)s, %(batch)s)',
                           now=self.world.now,
                           batch=batch)
        else:
            for _ in range(FLOWS + 1):
                self.world.run('CALL retention.tick(%(now)s, 100000)', now=self.world.now)
        self.read_results(issues)
        self.left = free - self.issued
        self.interpreter.tick(self.world.now, facts)
        return self.differences()

    # What the engine shows, by the keys that the interpreter knows.

    def free_coupons(self):
        return Counter(row['pool'] for row in self.world.rows(
            'SELECT pool FROM retention.coupon WHERE enrollment_id IS NULL'))

    def read_results(self, issues):
        self.shown, self.shown_messages, keys, counts = {}, {}, {}, Counter()
        for row in self.world.rows(
                'SELECT * FROM retention.flow_enrollment ORDER BY enrollment_id'):
            place = row['flow'], row['customer_id'], row['entered_at']
            keys[row['enrollment_id']] = key = (*place, counts[place])
            counts[place] += 1
            self.shown[key] = row
        for row in self.world.rows('SELECT * FROM retention.message'):
            self.shown_messages[keys.get(row['enrollment_id']), row['node']] = row
        coupons = self.world.rows(
            'SELECT code, enrollment_id, node FROM retention.coupon WHERE enrollment_id IS NOT NULL'
        )
        self.shown_coupons = {
            (keys.get(row['enrollment_id']), row['node']): {'code': row['code']} for row in coupons}
        # What was issued in this tick, though it may have gone back since.
        issued = self.world.rows(
            'SELECT pool, code, enrollment_id, node FROM shop.issue WHERE number > %(issues)s',
            issues=issues)
        taken = {(keys.get(row['enrollment_id']), row['node']): row['code'] for row in issued}
        self.issued = Counter(row['pool'] for row in issued)
        self.keys, places = keys, {key: number for number, key in enumerate(keys.values())}
        self.interpreter.place = lambda key: places.get(key, len(places))
        self.interpreter.coupon_taken = lambda key, node: taken.get((key, node))
        self.contacts_shown = self.world.read_contacts()

    def differences(self):
        expected = {
            (m.enrollment.key, m.node): message_fields(m) for m in self.interpreter.messages}
        found = compare('enrollment',
                        {e.key: enrollment_fields(e) for e in self.interpreter.enrollments},
                        self.shown, enrollment_shown)
        found += compare('message', expected, self.shown_messages, message_shown)
        held = {(e.key, node): {'code': code} for e in self.interpreter.enrollments
                for node, code in e.coupons.items()}
        found += compare('coupon', held, self.shown_coupons, only)
        found += [(key, 'coupon', f'none of pool {pool}, though {self.left[pool]} are left')
                  for pool, key in self.interpreter.refused_coupons if self.left[pool]]
        return found + self.differing_properties()

    def differing_properties(self):
        expected = {
            customer_id: contact.get('properties')
            for customer_id, contact in self.interpreter.contacts.items()}
        shown = {
            customer_id: contact['properties']
            for customer_id, contact in self.contacts_shown.items()}
        return [((None, customer_id), 'properties',
                 f'{shown.get(customer_id)} instead of {expected.get(customer_id)}')
                for customer_id in sorted(expected.keys() | shown.keys())
                if expected.get(customer_id) != shown.get(customer_id)]

    def report(self, differences):
        """The first few differences, and all that is known of the customer that the first one is
        about.
        """
        lines = [f'{len(differences)} differences at {self.world.now}'] + [
            f'{what} {readable(key)}: {how}' for key, what, how in differences[:5]]
        key = differences[0][0]
        flow, customer_id = (key[0] if isinstance(key[0], tuple) else key)[:2]
        for e in self.interpreter.enrollments:
            if e.customer_id == customer_id and flow in (None, e.flow.name):
                lines += [f'  {e.flow.name} version {e.version}: {line}' for line in e.story]
        for moment, *operation in self.done:
            if operation[0] not in ('publish', 'order', 'contact', 'change',
                                    'refund') or customer_id in operation:
                lines.append(f'  {moment} {readable(operation)}')
            elif operation[0] == 'publish' and flow in (None, operation[1]['name']):
                lines.append(f'  {moment} publish {json.dumps(operation[1])}')
        return lines


def readable(values):
    return '(' + ', '.join(readable(v) if isinstance(v, tuple) else str(v) for v in values) + ')'


# Fields are compared one by one. Where a text is the engine's own, only whether there is one.

def enrollment_fields(e):
    fields = {
        'version': e.version, 'node': e.node, 'outcome': e.outcome, 'is_holdout': e.is_holdout,
        'has_reason': e.outcome == 'error',
        'event': {key: as_json(value) for key, value in e.event.items()}}
    # When a condition is looked at next depends on when it was looked at last.
    if not e.is_at('wait_for'):
        fields['due_at'] = e.due_at
    if e.outcome is None:
        fields['since'] = e.since
    return fields


def as_json(value):
    return value.isoformat() if isinstance(value, date) else value


def enrollment_shown(row, expected):
    shown = dict(row, has_reason=row['reason'] is not None)
    return {key: shown[key] for key in expected}


def message_fields(m):
    fields = {
        'channel': m.channel, 'state': m.state, 'queued_at': m.queued_at, 'attempts': m.attempts}
    if m.state == 'error':
        fields['has_reason'] = True
    else:
        fields['reason'] = m.reason
    if m.state in ('ready', 'held', 'leased', 'sent', 'dead'):
        fields.update(address=m.address, subject=m.subject, body=m.body, expires_at=m.expires_at)
    return fields


def message_shown(row, expected):
    shown = dict(row, has_reason=bool(row['reason']))
    return {key: shown[key] for key in expected}


def only(row, expected):
    return {key: row[key] for key in expected}


def compare(kind, expected, shown, of_row):
    found = [(key, f'missing {kind}', expected[key]) for key in expected if key not in shown]
    found += [
        (key, f'unexpected {kind}', brief(shown[key])) for key in shown if key not in expected]
    for key in expected.keys() & shown.keys():
        row = of_row(shown[key], expected[key])
        wrong = [name for name in row if row[name] != expected[key][name]]
        if wrong:
            found.append((key, f'{kind} {" ".join(wrong)}',
                          '; '.join(f'{name} {row[name]} instead of {expected[key][name]}'
                                    for name in wrong)))
    return sorted(found, key=lambda difference: readable(difference[0]))


def brief(row):
    return {
        name: row[name]
        for name in ('version', 'node', 'due_at', 'outcome', 'event', 'state', 'reason')
        if name in row}
