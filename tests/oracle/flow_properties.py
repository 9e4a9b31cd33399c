"""Random flows in random worlds: after every tick the engine must show what the reference
interpreter says. For t/110_flow_properties.pl, which starts the server. Prints lines "ok - ..." and
"not ok - ...", what is wrong, which begins with !, and notes, which begin with #.

RETENTION_SEED is the first world's seed, without it the same ones are played each time, the others
count up from it; RETENTION_FLOWS is the number of documents. With RETENTION_SHRINK=1 the operations
of a world that fails are made as few as they can be, and printed."""

import json
import os
import random
import sys
from collections import Counter

import psycopg2

import flow_cases
import flow_expressions
from flow_documents import CHANNELS, Generator
from flow_game import FLOWS, Game, readable
from flow_interpreter import RUNNING, Ambiguous
from flow_shrink import shrink
from flow_world import Shop, World, connect, next_moment, start_of_world

MOMENTS = 30
# Readings of the document that need not be avoided, or "all".
DECIDED = os.environ.get('RETENTION_DECIDED', '').split(',')


class Player:
    """Chooses what happens in one world."""

    def __init__(self, random_, game, shop):
        self.random, self.game, self.shop = random_, game, shop
        self.has_held = self.random.random() < 0.3
        self.sends = self.random.random() < 0.5
        # Whether somebody who is through may enter again depends on what else was in the batch:
        # only never does not. Nor does who of several with the same address gets the message.
        self.batch = self.random.randint(
            1, 9) if self.random.random() < 0.35 and not shop.share else None
        self.names = [f'f{n}' for n in range(1, FLOWS + 1)]
        self.channels = dict(zip(self.names, self.choose_channels()))

    def choose_channels(self):
        """In half of the worlds each flow has its own: who of several sends first is another
        question.
        """
        if self.random.random() < 0.5:
            return [CHANNELS] * FLOWS
        return [[channel] for channel in self.random.sample(CHANNELS * FLOWS, FLOWS)]

    def flow(self, name):
        return self.game.interpreter.flows[name]

    # Statuses and documents change right after a tick, when nothing is left to do.

    def beginning(self):
        yield from self.shop.beginning(start_of_world(self.random))
        for name in self.names:
            yield self.publish(name)
            if self.random.random() < 0.85:
                yield 'set_status', name, 'live'

    def publish(self, name):
        return 'publish', Generator(self.random, name, self.names[:self.names.index(name)],
                                    self).document()

    def change_something(self):
        flow, roll = self.flow(self.random.choice(self.names)), self.random.random()
        if flow.status not in RUNNING:
            if flow.status != 'archived' and roll < 0.4:
                yield 'set_status', flow.name, 'live'
        elif roll < 0.06:
            yield 'set_status', flow.name, 'paused'
        elif roll < 0.075:
            yield 'set_status', flow.name, 'archived'
        elif roll < 0.14 and self.has_held:
            yield 'set_status', flow.name, 'live' if flow.status == 'manual' else 'manual'
        elif roll < 0.2 and not flow.node_status:
            yield self.publish(flow.name)
        elif roll < 0.3 and len(flow.versions) == 1:
            yield from self.change_message(flow)

    def change_message(self, flow):
        """A status of a message outlives versions, or does not: nothing says which. So only of
        flows with one.
        """
        messages = [node['id'] for node in flow.document['nodes'] if node['type'] == 'message']
        if messages:
            yield 'set_status', flow.name, self.random.choice(
                ['live', 'draft'] + ['manual'] * self.has_held), self.random.choice(messages)

    def enroll(self):
        for flow in map(self.flow, self.names):
            is_manual = flow.document['trigger']['type'] == 'manual'
            if flow.status not in RUNNING or self.random.random() > (0.5 if is_manual else 0.06):
                continue
            for customer_id in self.random.sample(self.shop.customers,
                                                  self.random.randint(1, 5) if is_manual else 1):
                event = self.random.choice([{}, {'amount': 42.5, 'note': 'a "b" <c>'},
                                            {'amount': 60, 'order_id': 'x'}, {'amount': 'many'}])
                yield 'enroll', flow.name, customer_id, event

    def moment(self):
        dues = {e.due_at for e in self.game.interpreter.active() if e.waits}
        moment = next_moment(self.random, self.game.world.now, dues)
        yield from self.shop.happen(self.game.world.now, moment)
        yield 'moment', moment
        if self.random.random() < 0.25:
            yield ('refresh',)
        yield from self.enroll()
        yield 'tick', self.random.choice([None, 5000]) if self.batch is None else self.batch
        yield from self.send()
        yield from self.change_something()

    def send(self):
        """Some senders are at work, and some are not."""
        for channel in CHANNELS:
            if self.sends and self.random.random() < 0.5:
                yield 'claim', channel, self.random.choice([
                    'ack', 'ack', 'ack', 'fail', 'give up', 'die'])
        if self.has_held and self.random.random() < 0.3:
            yield ('approve',)
        if self.sends and self.random.random() < 0.2:
            channel, address = self.random.choice([('email', 'C{}@example.com'),
                                                   ('sms', '0048 6001002{}'), ('push', 'token-{}')])
            yield 'suppress', channel, address.format(
                f'{int(self.random.choice(self.shop.customers)):02}')


def new_game(name, zone):
    execute('postgres', f'DROP DATABASE IF EXISTS {name}')
    execute('postgres', f'CREATE DATABASE {name} TEMPLATE flows')
    return Game(connect(name), zone, DECIDED)


def play(seed, total):
    """A world in a database of its own."""
    random_ = random.Random(seed)
    zone = random_.choice(['UTC', 'Europe/Warsaw'])
    game = new_game(f'world_{seed}', zone)
    player = Player(random_, game, Shop(random_))
    stopped, lines, moments = '', [], 0
    try:
        for operation in player.beginning():
            game.do(*operation)
        while moments < MOMENTS and not lines:
            moments += 1
            for operation in player.moment():
                differences = game.do(*operation)
                if differences:
                    lines = game.report(differences)
                    break
    except Ambiguous as doubt:
        stopped = f', then stopped: {doubt}'
    except psycopg2.Error as error:
        lines = [f'error at {game.world.now}'] + str(error).splitlines() + [
            readable(operation) for operation in game.done[-3:]]
        differences = []
    game.world.connection.close()
    count(game, total, moments, stopped)
    print(
        f'{"not ok" if lines else "ok"} - world {seed}: {moments} moments, '
        f'{len(game.interpreter.enrollments)} enrollments, '
        f'{len(game.interpreter.messages)} messages{stopped}')
    if lines and os.environ.get('RETENTION_SHRINK'):
        lines = shrunk(game, zone, differences) or lines
    print_lines('!', lines)


def shrunk(game, zone, differences):
    """The fewest operations after which the same is wrong."""
    if not differences:
        return None
    last = []

    def replay(operations):
        again = new_game('shrunk', zone)
        try:
            for operation in operations:
                found = again.do(*operation)
                if found:
                    last[:] = [line for line in again.report(found)]
                    return found[0][1]
        finally:
            again.world.connection.close()
        return None

    operations = shrink([operation[1:] for operation in game.done], replay, differences[0][1])
    replay(operations)
    return last + ['All of it:'] + [
        f'  {json.dumps(operation[1]) if operation[0] == "publish" else readable(operation)}'
        for operation in operations]


def print_lines(mark, lines):
    for line in lines:
        print(mark, line)
    sys.stdout.flush()


def count(game, total, moments, stopped):
    total['moments'] += moments
    total['worlds stopped'] += bool(stopped)
    for e in game.interpreter.enrollments:
        total[f'outcome {e.outcome}'] += 1
    for m in game.interpreter.messages:
        total[f'{m.state} {m.reason if m.state != "error" else ""}'] += 1


def check_expressions(seed):
    """In a world without flows."""
    random_ = random.Random(seed)
    game, shop = new_game('expressions', 'UTC'), Shop(random_)
    for operation in shop.beginning(start_of_world(random_)):
        game.do(*operation)
    found = flow_expressions.differing(game.world, shop.customers,
                                       random_), flow_expressions.differing_times(
                                           game.world, random_)
    for what, differing in zip(('expressions', 'local times'), found):
        print(f'{"not ok" if differing else "ok"} - {what} mean the same in SQL and here')
        print_lines('!', differing[:5])
    game.world.connection.close()


def execute(database, sql):
    connection = connect(database)
    connection.cursor().execute(sql)
    connection.close()


def main():
    seed = int(os.environ.get('RETENTION_SEED') or 20241103)
    worlds = max(1, int(os.environ.get('RETENTION_FLOWS') or 60) // FLOWS)
    print(f'# RETENTION_SEED={seed} RETENTION_FLOWS={worlds * FLOWS} has these worlds again')
    execute('postgres', 'CREATE DATABASE flows')
    execute('flows', 'CREATE EXTENSION retention')
    check_expressions(seed)
    total = Counter()
    for number in range(worlds):
        play(seed + number, total)
    print_lines('#', [', '.join(f'{what}: {n}' for what, n in sorted(total.items()))])


if __name__ == '__main__':
    flow_cases.run()
    main()
