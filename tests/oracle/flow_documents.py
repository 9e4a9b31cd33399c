"""Random flow documents, all of them valid, of every type of node and trigger."""

import flow_vocabulary as vocabulary

CHANNELS = ['email', 'sms', 'push', 'webhook']
SEGMENTS = ['spenders', 'silent', 'gold']
ZONES = ['UTC', 'Europe/Warsaw', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kolkata', None]
GROUPS = ['Champions', 'Loyal', 'Recent', 'Needs Attention', 'At Risk', 'Inactive']
DATES = {
    'expected_date_of_next_order': ['-3 days', '-1 week', '1 day'],
    'last_order_at': ['7 days', '20 days', '1 month'], 'first_order_at': ['300 days', '1 month']}
POOLS = ['small', 'large']
PERSON = [
    'person.first_name|default:"-"', 'person.rfm_group|default:"nobody"',
    'person.historic_number_of_orders|default:"no"', 'person.email|default:"nowhere"',
    'person.tier|default:"none"', 'person.customer_id', 'flow.name', 'data.orders', 'data.customer']
WEEKDAYS = ['monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday']


class Generator:
    def __init__(self, random, name, flows_below, world):
        """flows_below are those that it may enter; there are no circles of flows."""
        self.random = random
        self.name = name
        self.flows_below = flows_below
        self.world = world
        # Properties that are set and read here only.
        self.keys = [f'{name}_{kind}' for kind in 'tnb']

    def often(self, probability):
        return self.random.random() < probability

    def some_of(self, values):
        return self.random.sample(values, self.random.randint(1, len(values)))

    def document(self):
        self.own = self.keys[:]
        document = {'name': self.name, 'trigger': self.trigger(), 'nodes': None}
        self.has_orders = document['trigger']['type'] in ('order', 'refund') or self.often(0.1)
        document['reentry'] = 'never' if self.world.batch else self.random.choice([
            'never', 'always', 'always', '3 days', '20 hours'])
        # Schedules start with everybody: once for each moment would be very often after half a
        # year.
        if self.often(0.25) and (document['trigger']['type'] != 'schedule'
                                 or document['reentry'] != 'always'):
            document['concurrent'] = True
            # Several enrollments of one customer would set properties in an order that is nobody's
            # business.
            self.own = []
        if self.often(0.3):
            document['entry_filter'] = vocabulary.for_entry(self.random)
        if self.often(0.35):
            document['exit'] = vocabulary.steady(self.random)
        self.waits_for = self.often(0.6)
        if self.often(0.4):
            document['filter'] = vocabulary.for_filter(self.random, timed=not self.waits_for)
        if self.often(0.3):
            document['holdout'] = self.random.choice([12.5, 30, 50, 100, 0])
        zone = self.random.choice(ZONES)
        if zone is not None:
            document['time_zone'] = zone
        if self.often(0.4):
            start, end = self.random.choice([('21:00', '08:00'), ('12:00', '13:30'),
                                             ('00:00', '06:15')])
            document['quiet_hours'] = {'from': start, 'until': end}
        if self.often(0.1):
            document['one_per_address'] = self.often(0.7)
        if self.often(0.1):
            document.update(description='Of no consequence',
                            conversion_window='3 days',
                            metric='orders')
        document['nodes'] = self.nodes()
        return {
            key: value for key, value in document.items()
            if not (key == 'reentry' and value == 'never' and self.often(0.5))}

    # Triggers.

    def trigger(self):
        kind = self.random.choice([
            'segment', 'rfm_group', 'order', 'order', 'refund', 'date', 'schedule', 'manual'])
        return {'type': kind, **getattr(self, 'trigger_' + kind, dict)()}

    def trigger_segment(self):
        trigger = {'segment': self.random.choice(SEGMENTS)}
        if self.often(0.6):
            trigger['change'] = self.random.choice(['entered', 'left'])
        return trigger

    def trigger_rfm_group(self):
        keys = self.random.choice([['from'], ['to'], ['from', 'to']])
        return {key: self.random.sample(GROUPS, 4) for key in keys}

    def trigger_order(self):
        return {'max_age': self.random.choice(['0 days', '90 minutes', '1 day'])
                } if self.often(0.3) else {}

    trigger_refund = trigger_order

    def trigger_date(self):
        column = self.random.choice(list(DATES))
        trigger = {'column': column, 'offset': self.random.choice(DATES[column])}
        if self.often(0.6):
            trigger['at'] = self.time()
        return trigger

    def trigger_schedule(self):
        trigger = {'at': self.time()}
        if self.often(0.5):
            trigger['weekdays'] = self.some_of(WEEKDAYS)
        if self.often(0.7):
            trigger['condition'] = vocabulary.for_entry(self.random, event=False)
        return trigger

    def time(self):
        return self.random.choice(['00:00', '02:15', '02:30', '09:00', '17:45', '23:30'])

    # Nodes: a list in which every node but the first is the target of an earlier one. Slots are
    # places for targets.

    def nodes(self):
        nodes, slots = [], []
        kinds = ['message'] * 7 + ['delay'] * 6 + ['split'] * 3 + [
            'random_split', 'coupon', 'coupon', 'exit']
        kinds += ['set_property'] * 2 if self.own else []
        kinds += ['wait_for'] * 3 if self.waits_for else []
        kinds += ['enter_flow'] if self.flows_below else []
        for number in range(self.random.randint(2, 14)):
            if nodes and not slots:
                break
            kind = self.random.choice(kinds)
            if kind == 'exit' and len(slots) < 2:
                kind = 'message'
            node = {'id': f'n{number}', 'type': kind}
            if nodes:
                holder, key = slots.pop(self.random.randrange(len(slots)))
                holder[key] = node['id']
            slots += getattr(self, kind)(node)
            nodes.append(node)
        self.join(nodes, slots)
        first, others = nodes[0], nodes[1:]
        self.random.shuffle(others)
        return [first] + others

    def join(self, nodes, slots):
        """Some of the open ends lead to later nodes, which then are reached by several ways."""
        for holder, key in slots:
            place = next(i for i, node in enumerate(nodes) if any(
                holder is h for h in [node] + node.get('branches', []) + node.get('arms', [])))
            if self.often(0.4) and place + 1 < len(nodes):
                holder[key] = self.random.choice(nodes[place + 1:])['id']

    def message(self, node):
        node['channel'] = self.random.choice(self.world.channels[self.name])
        node['body'] = self.template()
        if node['channel'] == 'email':
            node['subject'] = self.template()
        if node['channel'] == 'webhook':
            node['url'] = self.random.choice([
                'https://example.com/hook', 'https://example.com/other'])
        if self.often(0.2):
            node['text'] = self.template()
        if self.world.has_held and self.often(0.3):
            node['status'] = self.random.choice(['manual', 'draft', 'live'])
        elif self.often(0.1):
            node['status'] = self.random.choice(['draft', 'live'])
        if self.often(0.15):
            node['transactional'] = True
        if self.world.has_held:
            node['smart_sending'] = False
        elif self.often(0.5):
            node['smart_sending'] = self.random.choice([False, '50 hours', '90 minutes'])
        if self.often(0.1):
            node['one_per_address'] = self.often(0.6)
        lateness = self.random.choice([None, '3 hours', '2 days', '300 days'])
        if lateness is not None:
            node['lateness'] = lateness
        node['data'] = dict(vocabulary.DATA)
        return [(node, 'next')]

    def template(self):
        variables = PERSON + [
            f'person.{key}|default:"{key}"' for key in self.own if not key.endswith('b')]
        parts = [
            '{{ ' + self.random.choice(variables) + ' }}' for _ in range(self.random.randint(0, 3))]
        if self.often(0.2):
            parts.append(
                self.random.choice([
                    '{{ event.amount }}', '{{ event.amount|default:"free" }}',
                    '{{ event.order_id }}', '{{ event.note }}']))
        if self.often(0.2 if self.world.batch else 0.35):
            parts.append(
                self.random.choice(['{{ coupon.code }}', '{{ coupon.code|default:"none" }}']))
        return ' & '.join(['Hello'] + parts)

    def delay(self, node):
        while not node.keys() & {'for', 'until', 'weekdays', 'at'}:
            if self.often(0.6):
                node['for'] = self.random.choice([
                    '90 minutes', '5 hours', '1 day', '2 days 3 hours', '1 week', '1 month',
                    '36 hours', '0 days'])
            if self.often(0.2):
                node['until'] = vocabulary.until(self.random, self.has_orders)
            if self.often(0.25):
                node['weekdays'] = self.some_of(WEEKDAYS)
            if self.often(0.35):
                node['at'] = self.time()
        return [(node, 'next')]

    def wait_for(self, node):
        node['condition'] = vocabulary.steady(
            self.random) if self.often(0.9) else self.random.choice(vocabulary.FAILING)(self.random)
        node['timeout'] = self.random.choice(['30 minutes', '20 hours', '72 hours', '200 hours'])
        return [(node, 'next'), (node, 'else')]

    def split(self, node):
        node['branches'] = [{'when': vocabulary.condition(self.random, self.own)}
                            for _ in range(self.random.randint(1, 3))]
        return [(branch, 'next') for branch in node['branches']] + [(node, 'else')]

    def random_split(self, node):
        shares = self.random.choice([[50, 50], [12.5, 87.5], [33.4, 33.3, 33.3], [100],
                                     [0, 99.99, 0.01]])
        node['arms'] = [{'name': f'arm {n}', 'share': share} for n, share in enumerate(shares)]
        return [(arm, 'next') for arm in node['arms']]

    def set_property(self, node):
        node['set'] = {
            key: vocabulary.own_value(self.random, key) for key in self.some_of(self.own)}
        return [(node, 'next')]

    def coupon(self, node):
        node['pool'] = self.random.choice(POOLS)
        return [(node, 'next'), (node, 'else')]

    def enter_flow(self, node):
        node['flow'] = self.random.choice(self.flows_below)
        return [(node, 'next')]

    def exit(self, node):
        if self.often(0.6):
            node['outcome'] = self.random.choice(['bought', 'left us', 'completed'])
        return []
