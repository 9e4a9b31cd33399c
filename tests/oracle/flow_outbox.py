"""What becomes of messages, as docs/flow_document.md and docs/senders.md have it: pauses, claims,
leases, acknowledgements.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

import flow_time
from flow_time import add_exactly, parse_interval, parse_time

LEASE = timedelta(minutes=5)
ATTEMPTS = 12
SMART_SENDING = {'email': '16 hours', 'sms': '24 hours', 'push': '24 hours', 'webhook': False}
# A message in one of these states has gone out, or is to.
WENT = ('ready', 'held', 'leased', 'sent')


def normal_address(channel, address):
    """Of numbers with a plus or 00, whose country is known by that, and others that stay their
    digits.
    """
    if address is None or channel not in ('email', 'sms'):
        return address
    if channel == 'email':
        return address.strip().lower()
    digits = re.sub(r'[^0-9]', '', address)
    if address.strip().startswith('00'):
        return '+' + digits[2:]
    return ('+' if address.strip().startswith('+') else '') + digits


@dataclass
class Message:
    enrollment: object
    node: str
    channel: str
    queued_at: datetime
    state: str = 'ready'
    reason: str = None
    address: str = None
    subject: str = None
    body: str = None
    transactional: bool = False
    expires_at: datetime = None
    # From then on it can be claimed, when it is ready or leased.
    ready_at: datetime = None
    attempts: int = 0
    # The code that it shows.
    code: str = None
    # The address that it was found to be the only one for, and when.
    granted_address: str = None
    granted_at: datetime = None

    @property
    def key(self):
        return self.enrollment.key, self.node

    def suppress(self, reason):
        self.state, self.reason = 'suppressed', reason


class Outbox:
    """The part of the interpreter that is about messages which have been written."""

    def __init__(self):
        self.messages = []
        self.suppressed = set()

    def messages_of(self, flow, *states):
        return [m for m in self.messages if m.enrollment.flow is flow and m.state in states]

    def archive_messages(self, flow):
        for message in self.messages_of(flow, 'ready', 'held'):
            message.suppress('archived')
        self.settle_coupons()

    def pause_messages(self, flow):
        for message in self.messages_of(flow, 'ready'):
            message.state, message.reason = 'held', 'pause'

    def resume_messages(self, flow):
        for message in self.messages_of(flow, 'held'):
            if message.reason == 'pause':
                message.state, message.reason = 'ready', None

    def approve(self, keys):
        """The time that it was held does not make it late."""
        for message in self.messages:
            if message.key in keys and message.state == 'held':
                message.state, message.reason, message.ready_at = 'ready', None, self.now
                message.expires_at += self.now - message.queued_at

    def reason_of_customer(self, e, channel, address, transactional):
        """Steps 3 to 5 of the document."""
        for reason, applies in (
                ('no address', address is None),
                ('no consent', not transactional and not self.consents(e, channel)),
                ('suppression list', (channel, address) in self.suppressed)):
            if applies:
                return reason
        return None

    def end_of_quiet(self, e, transactional):
        """Step 7: until when the customer is not to be disturbed, or None."""
        if transactional or 'quiet_hours' not in e.document:
            return None
        start, end = (parse_time(e.document['quiet_hours'][key]) for key in ('from', 'until'))
        zone = self.zone(e)
        return flow_time.end_of_quiet(self.now, end, zone) if flow_time.is_quiet(
            self.now, start, end, zone) else None

    def claim(self, channel, now):
        """The messages that a sender gets who asks for all of them."""
        self.now = now
        due = [
            m for m in self.messages
            if m.channel == channel and m.state in ('ready', 'leased') and m.ready_at <= now]
        attempts = {m.key: m.attempts for m in due}
        leased = [message for message in due if self.is_claimed(message)]
        for message in leased:
            if message.address == message.granted_address:
                continue
            if self.has_other(message):
                message.suppress('same address')
                message.attempts = attempts[message.key]
            else:
                message.granted_address, message.granted_at = message.address, self.now
        self.settle_coupons()
        return [message for message in leased if message.state == 'leased']

    def has_other(self, message):
        """Step 10: whether another customer with the same address got the message, within the time
        of smart sending.
        """
        e, node = message.enrollment, self.node_of_message(message)
        default = e.document.get('one_per_address', message.channel in ('email', 'sms')
                                 and not message.transactional)
        span = node.get('smart_sending') or SMART_SENDING[message.channel]
        return bool(node.get('one_per_address', default) and span) and any(
            m.enrollment.customer_id != e.customer_id and m.enrollment.flow is e.flow and m.node ==
            message.node and m.state in WENT and m.address == m.granted_address == message.address
            and add_exactly(m.granted_at, parse_interval(span)) > self.now for m in self.messages)

    def node_of_message(self, message):
        return next(n for n in message.enrollment.document['nodes'] if n['id'] == message.node)

    def is_claimed(self, message):
        e = message.enrollment
        if e.flow.status == 'archived':
            message.suppress('archived')
            return False
        if message.channel != 'webhook':
            message.address = self.address(e, message.channel)
        reason = self.reason_of_customer(e, message.channel, message.address, message.transactional)
        if reason is None and message.expires_at < self.now:
            reason = 'late'
        if reason is not None:
            message.suppress(reason)
            return False
        if e.flow.status == 'paused':
            message.state, message.reason = 'held', 'pause'
            return False
        until = self.end_of_quiet(e, message.transactional)
        if until is not None:
            message.state, message.ready_at = 'ready', until
            return False
        message.state, message.ready_at = 'leased', self.now + LEASE
        message.attempts += 1
        return True

    def ack(self, messages):
        for message in messages:
            message.state = 'sent'

    def fail(self, messages, permanent):
        for message in messages:
            if permanent or message.attempts >= ATTEMPTS:
                message.state = 'dead'
            else:
                message.state, message.ready_at = 'ready', self.now + min(
                    timedelta(minutes=2**(message.attempts - 1)), timedelta(hours=6))
        self.settle_coupons()
