#!/usr/bin/env python3
"""A mail server for tests, on 127.0.0.1. It writes a line of JSON for whatever it decides, to the
disk before it replies.

    smtp_sink.py PORT RECORD [--drop SHARE] [--seed N]

What it does depends on how the recipient begins:

    refused    no such user, 550
    deferred   451 the first time
    cut        drops the connection instead of taking the message, the first time
    lost       takes the message and drops the connection instead of saying so, the first time
    stuck      takes the message and never says so, the first time, until the client has gone

Of all others it takes each message, but drops the connection before or after for that share of
them. What it did the first time it knows from the record, so it can be restarted.
"""

import argparse
import asyncio
import email
import email.policy
import hashlib
import itertools
import json
import os
import random

from aiosmtpd.smtp import SMTP

FIRST = 'deferred', 'cut', 'lost', 'stuck'


class Handler:
    def __init__(self, path, drop):
        self.drop = drop
        self.sessions = itertools.count(1)
        self.record = open(path, 'a+', encoding='utf-8')
        self.record.seek(0)
        self.met = {
            tuple(json.loads(line)[key] for key in ('recipient', 'result')) for line in self.record}

    def write(self, session, envelope, result, **rest):
        """Records what is decided. The session tells one connection from another, also of other
        runs.
        """
        if not hasattr(session, 'name'):
            session.name = f'{os.getpid()}.{next(self.sessions)}'
        recipient = envelope.rcpt_tos[0]
        self.met.add((recipient, result))
        print(json.dumps(dict(rest, session=session.name, recipient=recipient, result=result)),
              file=self.record,
              flush=True)
        os.fsync(self.record.fileno())

    def choose(self, recipient):
        for result in FIRST:
            if recipient.startswith(result) and (recipient, result) not in self.met:
                return result
        return random.choice(['cut', 'lost']) if random.random() < self.drop else 'accepted'

    async def handle_RCPT(self, server, session, envelope, address, options):
        envelope.rcpt_tos.append(address)
        if address.startswith('refused'):
            self.write(session, envelope, 'refused')
            envelope.rcpt_tos.pop()
            return '550 5.1.1 no such user'
        if address.startswith('deferred') and (address, 'deferred') not in self.met:
            self.write(session, envelope, 'deferred')
            envelope.rcpt_tos.pop()
            return '451 4.7.1 come back later'
        return '250 OK'

    async def handle_DATA(self, server, session, envelope):
        result = self.choose(envelope.rcpt_tos[0])
        self.write(session, envelope, result, **({} if result == 'cut' else describe(envelope)))
        if result == 'stuck':
            await asyncio.Event().wait()  # cancelled when the client goes
        if result != 'accepted':
            server.transport.abort()
        return '250 OK'


def describe(envelope):
    mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
    text, html = (mail.get_body([kind]).get_content() for kind in ('plain', 'html'))
    return {
        'sender': envelope.mail_from, 'message_id': mail['Message-ID'], 'from': mail['From'],
        'to': mail['To'], 'date': mail['Date'], 'subject': mail['Subject'],
        'unsubscribe': mail['List-Unsubscribe'], 'text': text.strip()[:1000],
        'html': hashlib.sha256(html.strip().encode()).hexdigest(),
        'longest': max(map(len, envelope.content.split(b'\r\n')))}


async def serve(options):
    handler = Handler(options.record, options.drop)
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(handler, hostname='sink'),
                                                            '127.0.0.1', options.port)
    print('listening', flush=True)
    await server.serve_forever()


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('port', type=int)
    parser.add_argument('record')
    parser.add_argument('--drop', type=float, default=0)
    parser.add_argument('--seed', type=int)
    options = parser.parse_args()
    random.seed(options.seed)
    asyncio.run(serve(options))
