"""A reference interpreter of flow documents, made from docs/flow_document.md and from nothing else:
one enrollment after the other, without a database, slow and meant to be obviously right.
t/110_flow_properties.pl compares the engine with it.

It is told what it is not meant to know: profiles, contacts, changes of segments and groups, and
orders, as of each tick. Expressions are looked up by their text among the functions that
flow_vocabulary.py has for them.

Where the document can be read in several ways and the difference shows, Ambiguous is raised, unless
the name of the ambiguity is in `decided`; then the reading chosen here counts."""

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import flow_time
from flow_outbox import SMART_SENDING, WENT, Message, Outbox, normal_address
from flow_time import add, add_exactly, as_moment, parse_interval, parse_time
from flow_vocabulary import Failed, evaluate

ADDRESS = {'email': 'email', 'sms': 'phone', 'push': 'push_token'}
CONSENT = {'email': 'email_consent', 'sms': 'sms_consent', 'push': 'push_consent'}
RUNNING = ('live', 'manual')


class Ambiguous(Exception):
    """The document does not say what happens now."""


class TemplateFailed(Exception):
    """A variable is missing."""


@dataclass
class Flow:
    name: str
    versions: list = field(default_factory=list)
    status: str = 'draft'
    node_status: dict = field(default_factory=dict)
    # Dates and schedules up to then are past, whatever happens later.
    looked_at: datetime = None

    @property
    def document(self):
        return self.versions[-1]


@dataclass(eq=False)
class Enrollment:
    flow: Flow
    version: int
    customer_id: str
    event: dict
    entered_at: datetime
    # Of several that entered the flow at the same time for the same customer.
    number: int
    is_holdout: bool
    node: str
    since: datetime = None
    due_at: datetime = None
    # Since when it has been due.
    due: datetime = None
    waits: bool = False
    outcome: str = None
    # The codes that it has, by the nodes that issued them, the last one last.
    coupons: dict = field(default_factory=dict)
    story: list = field(default_factory=list)

    @property
    def document(self):
        return self.flow.versions[self.version - 1]

    @property
    def key(self):
        return self.flow.name, self.customer_id, self.entered_at, self.number

    def is_at(self, *types):
        return self.outcome is None and node_of(self.document, self.node)['type'] in types

    def tell(self, moment, what):
        self.story.append(f'{moment} {self.node}: {what}')


def node_of(document, node_id):
    return next(n for n in document['nodes'] if n['id'] == node_id)


def nodes_behind(document, node_id):
    """The node itself, and all that can be reached from it."""
    found, open_ends = [], [node_id]
    while open_ends:
        node = node_of(document, open_ends.pop())
        if node not in found:
            found.append(node)
            ways = [node, *node.get('branches', []), *node.get('arms', [])]
            open_ends += [way[key] for way in ways for key in ('next', 'else') if key in way]
    return found


def shows_coupon(node):
    return node['type'] == 'message' and any('{{ coupon' in node.get(key, '')
                                             for key in ('subject', 'body', 'text', 'url'))


def coupon_messages(document, node_id):
    return [node for node in nodes_behind(document, node_id) if shows_coupon(node)]


class Interpreter(Outbox):
    def __init__(self, bucket, metric_zone='UTC', decided=()):
        super().__init__()
        self.bucket = bucket
        self.metric_zone = metric_zone
        self.decided = decided
        self.flows = {}
        self.enrollments = []
        self.requests = []
        self.profiles, self.contacts = {}, {}
        # Told: the coupons that were given away, and who entered first, a number for each
        # enrollment.
        self.coupon_taken = lambda key, node: None
        self.place = lambda key: 0
        self.refused_coupons = []
        self.sending = []
        self.now = None

    def doubt(self, name, what=''):
        if name not in self.decided and 'all' not in self.decided:
            raise Ambiguous(f'{name}: {what}' if what else name)

    # What users call, between ticks.

    def publish(self, document, now):
        flow = self.flows.setdefault(document['name'], Flow(document['name']))
        flow.versions.append(document)
        flow.looked_at = now

    def set_status(self, name, status, now, node=None):
        flow = self.flows[name]
        if node is not None:
            flow.node_status[node] = status
            return
        flow.status = status
        flow.looked_at = now
        if status == 'archived':
            self.archive_messages(flow)
            for enrollment in self.active():
                if enrollment.flow is flow:
                    self.finish(enrollment, 'archived')
        elif status == 'paused':
            self.pause_messages(flow)
        else:
            self.resume_messages(flow)

    def enroll(self, name, customer_id, event):
        self.requests.append((name, customer_id, event))

    def active(self):
        return sorted((e for e in self.enrollments if e.outcome is None),
                      key=lambda e: self.place(e.key))

    # What is done at one time, in rounds: what enter_flow asks for enters in the next one, and so
    # does the next moment of a schedule, or day of a date, when there are several.

    def tick(self, now, facts):
        self.now = now
        self.profiles, self.contacts = facts.profiles, facts.contacts
        self.sending, self.refused_coupons = [], []
        starts = {name: self.triggered(flow, facts) for name, flow in self.flows.items()}
        calendar = {name: self.calendar(flow) for name, flow in self.flows.items()}
        while True:
            requested, self.requests = self.requests, []
            for name, customer_id, event in requested:
                starts[name].append((customer_id, event))
            for name, moments in calendar.items():
                starts[name] += self.triggered_at(self.flows[name],
                                                  moments.pop(0)) if moments else []
            self.round(starts)
            if not self.requests and not any(calendar.values()):
                break
            starts = {name: [] for name in self.flows}
        for flow in self.flows.values():
            flow.looked_at = now
        self.check_who_sent_first()

    def round(self, starts):
        self.entered = []
        for name, flow in self.flows.items():
            if flow.status in RUNNING:
                self.enter(flow, starts[name])
        for enrollment in self.active():
            if enrollment.flow.status in RUNNING:
                self.proceed(enrollment)
        self.settle_coupons()

    # What starts a flow: (customer, event). First what its trigger finds, then what was asked for
    # by enroll.

    def triggered(self, flow, facts):
        if flow.status not in RUNNING:
            return []
        trigger = flow.document['trigger']
        return getattr(self, 'triggered_by_' + trigger['type'])(flow, trigger, facts)

    def triggered_by_segment(self, flow, trigger, facts):
        wanted = trigger['segment'], trigger.get('change', 'entered')
        return [(c.customer_id,
                 {'segment': c.segment, 'change': c.change, 'cause': c.cause, 'as_of': c.as_of})
                for c in facts.segment_changes
                if (c.segment, c.change) == wanted and c.cause not in ('definition', 'drop')]

    def triggered_by_rfm_group(self, flow, trigger, facts):
        starts = []
        for c in facts.rfm_changes:
            came = 'from' not in trigger or c.previous_rfm_group in trigger['from']
            went = 'to' not in trigger or c.rfm_group in trigger['to']
            if not (came and went) or c.cause == 'settings':
                continue
            starts.append((c.customer_id, {
                'from': c.previous_rfm_group, 'to': c.rfm_group, 'cause': c.cause,
                'as_of': c.changed_at}))
        return starts

    def triggered_by_order(self, flow, trigger, facts):
        oldest = parse_interval(trigger.get('max_age', '3 days'))
        return [(e.customer_id, {
            'order_id': e.order_id, 'amount': e.amount, 'occurred_at': e.occurred_at,
            **({'number': e.number} if e.kind == 'order' else {})}) for e in facts.order_events
                if e.kind == trigger['type'] and e.net_amount and e.net_amount > 0
                and add_exactly(e.ordered_at, oldest) >= e.recorded_at]

    triggered_by_refund = triggered_by_order

    def triggered_by_date(self, flow, trigger, facts):
        """See triggered_at."""
        return []

    triggered_by_schedule = triggered_by_manual = triggered_by_date

    def calendar(self, flow):
        """The moments of a schedule, or of the days of dates, since the last tick. What was due a
        day ago or earlier starts nobody: after an outage that would be too late."""
        trigger = flow.document['trigger']
        if flow.status not in RUNNING or trigger['type'] not in ('date', 'schedule'):
            return []
        moments = flow_time.moments_between(flow.looked_at, self.now, trigger.get('weekdays'),
                                            parse_time(trigger.get('at', '00:00')),
                                            self.flow_zone(flow.document))
        recent = [moment for moment in moments if moment > self.now - timedelta(days=1)]
        return recent if recent == moments else [None] + recent

    def triggered_at(self, flow, moment):
        trigger = flow.document['trigger']
        if moment is None:
            return []
        if trigger['type'] == 'schedule':
            return [(customer_id, {'scheduled_for': moment})
                    for customer_id in sorted(self.profiles)
                    if self.fits_schedule(trigger, customer_id)]
        return [
            (customer_id,
             {'column': trigger['column'], 'date': self.day_of(flow, profile[trigger['column']])})
            for customer_id, profile in sorted(self.profiles.items())
            if self.moment_of_date(flow, trigger, profile[trigger['column']]) == moment]

    def day_of(self, flow, value):
        return flow_time.local(value, self.flow_zone(flow.document)).date() if isinstance(
            value, datetime) else value

    def moment_of_date(self, flow, trigger, value):
        if value is None:
            return None
        midnight = datetime.combine(self.day_of(flow, value), datetime.min.time())
        day = flow_time.add_to_local(midnight, parse_interval(trigger.get('offset',
                                                                          '0 days'))).date()
        return flow_time.instant(datetime.combine(day, parse_time(trigger.get('at', '00:00'))),
                                 self.flow_zone(flow.document))

    def fits_schedule(self, trigger, customer_id):
        return 'condition' not in trigger or self.before_entry(trigger['condition'], customer_id,
                                                               {}) is True

    def before_entry(self, sql, customer_id, event):
        try:
            return evaluate(sql, self.row(customer_id, event, self.now, self.now))
        except Failed as failure:
            return failure

    # Entering. A filter that fails lets nobody pass, but the enrollment is there, and has ended.

    def enter(self, flow, starts):
        for customer_id, event in starts:
            passes = 'entry_filter' not in flow.document or self.before_entry(
                flow.document['entry_filter'], customer_id, event)
            if (passes is True or isinstance(passes, Failed)) and self.may_enter(flow, customer_id):
                self.add(flow, customer_id, event, passes)

    def may_enter(self, flow, customer_id):
        reentry, concurrent = flow.document.get('reentry',
                                                'never'), flow.document.get('concurrent', False)
        earlier = [e for e in self.enrollments if e.flow is flow and e.customer_id == customer_id]
        if not earlier or (concurrent and reentry == 'always'):
            return True
        is_second = any(e in self.entered for e in earlier)
        if reentry == 'never' or is_second or (not concurrent and any(e.outcome is None
                                                                      for e in earlier)):
            return False
        return reentry == 'always' or self.now >= add_exactly(max(e.entered_at for e in earlier),
                                                              parse_interval(reentry))

    def add(self, flow, customer_id, event, passes):
        same = [
            e for e in self.enrollments
            if (e.flow, e.customer_id, e.entered_at) == (flow, customer_id, self.now)]
        is_holdout = self.bucket(customer_id, flow.name) < flow.document.get('holdout', 0) * 100
        enrollment = Enrollment(flow,
                                len(flow.versions),
                                customer_id,
                                event,
                                self.now,
                                len(same),
                                is_holdout,
                                flow.document['nodes'][0]['id'],
                                due=self.now)
        enrollment.tell(self.now, f'enters with {event}')
        self.enrollments.append(enrollment)
        self.entered.append(enrollment)
        if passes is not True:
            self.finish(enrollment, 'error')

    # Going on.

    def proceed(self, e):
        """Exit, then filter, then nodes until one makes it wait."""
        try:
            if self.holds(e, 'exit', False):
                self.finish(e, 'exited')
            elif self.has_something_to_do(e):
                self.take_steps(e)
        except Failed as failure:
            e.tell(self.now, f'fails: {failure}')
            self.finish(e, 'error')

    def holds(self, e, key, default):
        condition = e.document.get(key)
        return default if condition is None else self.value(e, condition) is True

    def has_something_to_do(self, e):
        """Conditions that a customer waits for are looked at whenever they change, which is to say
        now: those of the vocabulary that are waited for do not change by themselves."""
        return not e.waits or e.due_at <= self.now or e.is_at('wait_for')

    def take_steps(self, e):
        if not self.holds(e, 'filter', True):
            self.finish(e, 'filtered')
            return
        if e.waits:
            e.due = e.due_at if e.due_at <= self.now else self.now
        while e.outcome is None:
            what, where = self.step(e)
            if what == 'wait':
                self.wait(e, where)
                return
            e.waits, e.due_at = False, None
            if what == 'end' or where is None:
                self.finish(e, where if what == 'end' else 'completed')
                return
            e.tell(self.now, f'goes to {where}')
            e.node = where

    def wait(self, e, until):
        if not e.waits:
            e.since = self.now
        e.waits, e.due_at = True, until
        e.tell(self.now, f'waits until {until}')

    def finish(self, e, outcome):
        e.tell(self.now, f'ends: {outcome}')
        e.outcome, e.due_at = outcome, None

    # Nodes: ('go', to a node or None), ('wait', until) or ('end', outcome).

    def step(self, e):
        node = node_of(e.document, e.node)
        return getattr(self, 'step_' + node['type'])(e, node)

    def step_exit(self, e, node):
        return 'end', node.get('outcome', 'completed')

    def step_split(self, e, node):
        for branch in node['branches']:
            if self.value(e, branch['when']) is True:
                return 'go', branch.get('next')
        return 'go', node.get('else')

    def step_random_split(self, e, node):
        bucket, share = self.bucket(e.customer_id, f'{e.flow.name}/{node["id"]}'), 0
        for arm in node['arms']:
            share += Decimal(str(arm['share']))
            if bucket < 100 * share:
                return 'go', arm.get('next')
        raise AssertionError('shares add up to 100')

    def step_delay(self, e, node):
        if not e.waits:
            until = self.end_of_delay(e, node)
            if until > self.now:
                return 'wait', until
        return 'go', node.get('next')

    def end_of_delay(self, e, node):
        zone, moments = self.zone(e), []
        if 'for' in node:
            moments.append(add(self.now, parse_interval(node['for']), zone))
        if 'until' in node:
            value = self.value(e, node['until'])
            if value is None:
                raise Failed('until is null')
            moments.append(as_moment(value, zone))
        # What has passed does not wait, but has to come on one of the days all the same.
        base = max(moments + [self.now])
        if 'weekdays' in node or 'at' in node:
            base = flow_time.first_moment(base, node.get('weekdays'),
                                          parse_time(node['at']) if 'at' in node else None, zone)
        return base

    def step_wait_for(self, e, node):
        until = e.due_at if e.waits else add(self.now, parse_interval(node['timeout']),
                                             self.zone(e))
        if self.value(e, node['condition']) is True:
            return 'go', node.get('next')
        return ('wait', until) if until > self.now else ('go', node.get('else'))

    def step_set_property(self, e, node):
        values = {key: self.value(e, sql) for key, sql in node['set'].items()}
        contact = self.contacts.setdefault(e.customer_id, {'properties': {}})
        properties = {**(contact['properties'] or {}), **values}
        contact['properties'] = {
            key: value for key, value in properties.items() if value is not None}
        return 'go', node.get('next')

    def step_coupon(self, e, node):
        """Who gets a pool's last codes is not said, so the interpreter is told; the driver checks
        that the pool was used up.
        """
        if e.is_holdout or not self.can_show_coupon(e, node):
            return 'go', node.get('next')
        code = self.coupon_taken(e.key, node['id'])
        if code is not None:
            e.coupons[node['id']] = code
            return 'go', node.get('next')
        self.refused_coupons.append((node['pool'], e.key))
        return ('go', node['else']) if 'else' in node else ('end', 'exhausted')

    def can_show_coupon(self, e, node):
        messages = coupon_messages(e.document, node['id'])
        return not messages or any(
            self.status_of(e, m) != 'draft' and self.reason_of_customer(
                e, m['channel'], self.address_for(e, m), m.get('transactional', False)) is None
            for m in messages)

    def settle_coupons(self):
        for e in self.enrollments:
            e.coupons = {
                node: code for node, code in e.coupons.items() if not self.goes_back(e, node, code)}

    def goes_back(self, e, node, code):
        """When it was given for messages, none that shows it was sent or still may be, and none
        will be written.
        """
        mine = [m for m in self.messages if m.enrollment is e]
        if not coupon_messages(e.document, node):
            return False
        if any(m.code == code and (m.state in WENT or m.attempts and m.state != 'dead')
               for m in mine):
            return False
        left = coupon_messages(e.document, e.node) if e.outcome is None else []
        return all(
            any(m.channel == next_one['channel'] and self.is_final(m.reason, next_one)
                for m in mine) for next_one in left)

    def is_final(self, reason, node):
        """Why a message on the same channel was not sent is a reason for this one as well."""
        return reason in ('no address', 'suppression list'
                          ) or reason == 'no consent' and not node.get('transactional', False)

    def step_enter_flow(self, e, node):
        if self.flows[node['flow']].status in RUNNING and not e.is_holdout:
            self.requests.append(
                (node['flow'], e.customer_id, {**e.event, 'from_flow': e.flow.name}))
        return 'go', node.get('next')

    def step_message(self, e, node):
        channel = node['channel']
        message = Message(e,
                          node['id'],
                          channel,
                          self.now,
                          transactional=node.get('transactional', False),
                          ready_at=self.now)
        message.address = message.granted_address = self.address_for(e, node)
        message.granted_at = self.now
        message.expires_at = add_exactly(e.due, parse_interval(node.get('lateness', '1 day')))
        until = self.decide(e, node, message)
        if until is not None:
            return 'wait', until
        e.tell(self.now, f'{message.state} {message.reason or ""}')
        self.messages.append(message)
        return 'go', node.get('next')

    # Messages. The first that applies; returns until when to wait, if to wait.

    def decide(self, e, node, message):
        status = self.status_of(e, node)
        reason = self.reason_not_to_send(e, message, status)
        if reason is not None:
            message.state, message.reason = ('ghost'
                                             if reason == 'holdout' else 'suppressed'), reason
            return None
        until = self.end_of_quiet(e, message.transactional)
        if until is not None:
            return until
        self.render_message(e, node, message)
        if message.state == 'error':
            return None
        if not message.transactional and self.is_too_soon(e, node):
            message.suppress('smart sending')
        elif self.has_other(message):
            message.suppress('same address')
        elif 'manual' in (status, e.flow.status):
            message.state, message.reason = 'held', 'approval'
        return None

    def reason_not_to_send(self, e, message, status):
        if e.is_holdout:
            return 'holdout'
        if status == 'draft':
            return 'draft'
        reason = self.reason_of_customer(e, message.channel, message.address, message.transactional)
        return reason or ('late' if message.expires_at < self.now else None)

    def is_too_soon(self, e, node):
        smart = node.get('smart_sending', SMART_SENDING[node['channel']])
        others = [m for m in self.messages if m.channel == node['channel'] and not m.transactional
                  and m.enrollment.customer_id == e.customer_id and m.state in WENT]
        recent = [
            m for m in others
            if smart and add_exactly(m.queued_at, parse_interval(smart)) > self.now]
        if not any(m.queued_at < self.now or m.enrollment is e for m in recent):
            self.sending.append((e, node['channel'], bool(smart)))
        return bool(recent)

    def check_who_sent_first(self):
        """Of several enrollments that send to one customer on one channel in one tick."""
        for e, channel, smart in self.sending:
            for other, other_channel, _ in self.sending:
                if (smart and other is not e and channel == other_channel
                        and e.customer_id == other.customer_id):
                    self.doubt('who sends first in one tick',
                               f'{e.customer_id} {channel} {e.flow.name} {other.flow.name}')

    def render_message(self, e, node, message):
        try:
            context = self.context(e, node)
            message.code = context['coupon'] and context['coupon']['code'] if shows_coupon(
                node) else None
            message.subject = render(node['subject'], context) if 'subject' in node else None
            message.body = render(node['body'], context, escape=node['channel'] == 'email')
            for key in ('text', 'url'):
                if key in node:
                    render(node[key], context)
        except TemplateFailed as failure:
            message.state, message.reason, message.subject, message.body = 'error', str(
                failure), None, None

    def context(self, e, node):
        contact, profile = self.contact(e), self.profiles.get(e.customer_id, {})
        person = {
            **profile, **(contact.get('properties') or {}),
            **{k: v for k, v in contact.items() if k != 'properties'}}
        data = {key: self.value(e, sql) for key, sql in node.get('data', {}).items()}
        return {
            'person': {**person, 'customer_id': e.customer_id}, 'event': e.event,
            'coupon': self.coupon(e), 'data': data, 'flow': {'name': e.flow.name}}

    def coupon(self, e):
        return {'code': list(e.coupons.values())[-1]} if e.coupons else None

    def status_of(self, e, node):
        return e.flow.node_status.get(node['id'], node.get('status', 'live'))

    # A customer.

    def contact(self, e):
        return self.contacts.get(e.customer_id, {})

    def address(self, e, channel):
        return normal_address(channel, self.contact(e).get(ADDRESS[channel]))

    def address_for(self, e, node):
        return node['url'] if node['channel'] == 'webhook' else self.address(e, node['channel'])

    def consents(self, e, channel):
        return channel == 'webhook' or self.contact(e).get(CONSENT[channel]) is True

    def flow_zone(self, document):
        return document.get('time_zone', self.metric_zone)

    def zone(self, e):
        return self.contact(e).get('time_zone') or self.flow_zone(e.document)

    def row(self, customer_id, event, entered_at, since):
        return SimpleNamespace(customer_id=customer_id,
                               profile=self.profiles.get(customer_id, {}),
                               contact=self.contacts.get(customer_id, {}),
                               event=event,
                               entered_at=entered_at,
                               since=since,
                               now=self.now)

    def value(self, e, sql):
        """since is when the customer came to this node: now, unless they wait at it."""
        return evaluate(
            sql, self.row(e.customer_id, e.event, e.entered_at, e.since if e.waits else self.now))


def render(template, context, escape=False):
    def replace(match):
        value = find(context, match[1].split('.'))
        if value is None:
            if match[2] is None:
                raise TemplateFailed(f'{match[1]} is missing')
            value = match[2]
        return escape_html(str(value)) if escape else str(value)
    return re.sub(r'\{\{ ([a-z_.0-9]+)(?:\|default:"([^"]*)")? \}\}', replace, template)


def find(context, path):
    for name in path:
        context = context.get(name) if isinstance(context, dict) else None
    return context


def escape_html(text):
    for character, entity in (('&', '&amp;'), ('<', '&lt;'), ('>', '&gt;'), ('"', '&quot;'),
                              ("'", '&#39;')):
        text = text.replace(character, entity)
    return text
