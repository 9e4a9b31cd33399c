#!/usr/bin/env python3
"""Sends the emails in the outbox of retention's flows. Several may run at once. See
docs/senders.md.

    sender.py --dsn dbname=shop --smtp localhost:25 --from 'The Shop <hello@shop.example>'

Every message is sent at least once. The claim is committed before anything is sent, and each
message is acknowledged as soon as the mail server has taken it, by itself: a crash between the two
sends that one message again, and no other. Its Message-ID is made from the idempotency key, so both
have the same.

The environment has the rest. SMTP_USER and SMTP_PASSWORD log in, encrypted; SMTP_STARTTLS=1
encrypts without. UNSUBSCRIBE_SECRET signs --unsubscribe-url: {signature} is the HMAC-SHA256 of the
customer_id, in hexadecimal.
"""

import argparse
import contextlib
import hmac
import html
import logging
import os
import re
import select
import signal
import smtplib
import ssl
import time
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, parseaddr
from urllib.parse import quote

import psycopg2.extras

CHANNEL = 'email'


def plain_text(body):
    """The text of an HTML body: a line for each block, links followed by their address."""
    text = re.sub(r'(?is)<!--.*?-->|<(style|script|title)\b.*?</\1>|\s+', ' ', body)
    text = re.sub(r'''(?i)<a\b[^>]*\bhref=(["'])(.*?)\1[^>]*>(.*?)</a>''', r'\3 (\2)', text)
    text = re.sub(r'(?i)</?(blockquote|br|div|h\d|hr|li|ol|p|table|tr|ul)\b[^>]*>', '\n', text)
    text = html.unescape(re.sub(r'<[^>]*>', '', text))
    return re.sub(r'\s*\n\s*', '\n', text).strip()


def checked(address):
    """The one address that this is, with its domain in ASCII. Whatever could be more than that is
    an error.
    """
    local, _, domain = address.rpartition('@')
    if not re.fullmatch(r"[\w.!#$%&'*+/=?^`{|}~-]+", local, re.ASCII) or not re.fullmatch(
            r'[\w-]+(\.[\w-]+)*', domain):
        raise ValueError(f'{address!r} is not an email address')
    return f'{local}@{domain.encode("idna").decode()}'


def unsubscribe_url(template, customer_id):
    signature = hmac.new(os.environ['UNSUBSCRIBE_SECRET'].encode(), customer_id.encode(),
                         'sha256').hexdigest()
    return template.format(customer_id=quote(customer_id, safe=''), signature=signature)


def compose(row, database, options):
    """Returns the recipient and the message as the server gets it."""
    recipient = checked(row.address)
    mail = EmailMessage(policy=SMTP.clone(cte_type='7bit'))  # which passes every server
    mail['From'], mail['To'] = options.sender, recipient
    mail['Subject'] = ' '.join(row.subject.split())
    mail['Date'] = formatdate()
    # Keys are unique in a database, of which several may send from one domain.
    key = quote(row.idempotency_key, safe='')
    mail['Message-ID'] = f'<{key}.{quote(database, safe="")}@{options.domain}>'
    mail.set_content(row.text or plain_text(row.body))
    mail.add_alternative(row.body, subtype='html')
    content = mail.as_bytes()
    if options.unsubscribe_url:
        # By hand: the library would fold a long address, and encode it for that.
        url = unsubscribe_url(options.unsubscribe_url, row.customer_id)
        header = (f'List-Unsubscribe: <{url}>\r\n'
                  'List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n')
        content = header.encode() + content
    return recipient, content


class MailServer:
    """An SMTP connection that is opened when it is needed."""

    def __init__(self, options):
        self.options, self.smtp, self.reachable = options, None, False

    def open(self):
        """Makes sure of a connection on which the server takes mail from us."""
        if self.smtp and self.smtp.sock:
            return
        self.reachable = False
        options, context = self.options, ssl.create_default_context()
        where = {'host': options.host, 'port': options.port, 'timeout': options.lease / 5}
        smtp = smtplib.SMTP_SSL(**where, context=context) if options.port == 465 else smtplib.SMTP(
            **where)
        user = os.environ.get('SMTP_USER')
        if options.port != 465 and (user or os.environ.get('SMTP_STARTTLS')):
            smtp.starttls(context=context)
        if user:
            smtp.login(user, os.environ['SMTP_PASSWORD'])
        smtp.ehlo_or_helo_if_needed()
        code, reply = smtp.mail(options.address)
        if code != 250:
            raise smtplib.SMTPSenderRefused(code, reply, options.address)
        smtp.rset()
        self.smtp, self.reachable = smtp, True

    def close(self):
        if self.smtp:
            with contextlib.suppress(OSError):
                self.smtp.quit()
        self.smtp = None

    def send(self, recipient, content):
        """Returns None, or what was wrong and whether that is final."""
        self.open()
        try:
            self.smtp.sendmail(self.options.address, [recipient], content)
            return None
        except smtplib.SMTPSenderRefused as error:
            self.close()  # it may take nothing from us at all: open() finds out
            # Too large
            reply = error.smtp_error.decode(errors='replace')
            return f'{error.smtp_code} {reply}', error.smtp_code == 552
        except smtplib.SMTPRecipientsRefused as error:
            code, reply = error.recipients[recipient]
        except smtplib.SMTPDataError as error:
            code, reply = error.smtp_code, error.smtp_error
        except OSError as error:
            self.close()
            return f'connection lost: {error}', False
        # 5.7 is of policy, such as a missing login, and tells nothing of the recipient.
        return f'{code} {reply.decode(errors="replace")}', code >= 550 and not reply.startswith(
            b'5.7.')


class Outbox:
    """The database's side. Each statement is a transaction: a claim is committed before anything is
    sent.
    """

    def __init__(self, options, accepted):
        # Accepted by the server, and not yet acknowledged
        self.options, self.accepted = options, accepted
        self.connection = psycopg2.connect(options.dsn,
                                           cursor_factory=psycopg2.extras.NamedTupleCursor)
        self.connection.autocommit, self.database = True, self.connection.info.dbname
        self.query('LISTEN retention_message')

    def query(self, statement, *values):
        with self.connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else None

    def claim(self):
        del self.connection.notifies[:]  # what they tell of is claimed now
        return self.query(
            'SELECT * FROM retention.claim_messages(%s, %s, make_interval(secs => %s))', CHANNEL,
            self.options.batch, self.options.lease)

    def acknowledge(self):
        if self.accepted:
            self.query('SELECT retention.ack(%s::bigint[])', self.accepted)
            self.accepted.clear()

    def wait(self, stop):
        """Returns when told of a message, and after some time: of what merely becomes due nobody
        tells.
        """
        deadline = time.monotonic() + self.options.poll
        while (left := deadline - time.monotonic()) > 0:
            self.connection.poll()
            told = any(notify.payload == CHANNEL for notify in self.connection.notifies)
            if told or stop in select.select([self.connection, stop], [], [], left)[0]:
                break


def catch_stop():
    """Returns what can be read once SIGTERM or SIGINT has come, so that select() can wait for it
    too.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in signal.SIGTERM, signal.SIGINT:
        signal.signal(number, lambda *_: None)
    return reader


def has_come(stop, seconds=0):
    return bool(select.select([stop], [], [], seconds)[0])


def send_one(row, outbox, mail, options):
    try:
        recipient, content = compose(row, outbox.database, options)
    except Exception as error:  # what is wrong with it now will be wrong the next time
        failure = f'cannot be sent: {error}', True
    else:
        failure = mail.send(recipient, content)
    if failure:
        error, final = failure[0].replace('\0', ' '), failure[1]
        logging.warning('message %s: %s%s', row.message_id, error, ', final' if final else '')
        outbox.query('SELECT retention.fail(%s::bigint[], %s, %s)', [row.message_id], error, final)
    else:
        outbox.accepted.append(row.message_id)
        outbox.acknowledge()


def drain(outbox, mail, stop, options):
    """Sends until nothing is ready. What a stop or an error leaves unsent is ready again after its
    lease.
    """
    outbox.acknowledge()
    while not has_come(stop):
        if not mail.reachable:
            mail.open()  # before the claim: while the server is away, no message loses an attempt
        deadline = time.monotonic() + 0.8 * options.lease  # the rest is for the message in hand
        if not (batch := outbox.claim()):
            break
        logging.info('%d messages to send', len(batch))
        for row in batch:
            if has_come(stop) or time.monotonic() > deadline:
                break
            send_one(row, outbox, mail, options)
    mail.close()


def run(options):
    stop, mail, accepted = catch_stop(), MailServer(options), []
    while True:
        try:
            outbox = Outbox(options, accepted)
            while True:
                drain(outbox, mail, stop, options)
                if options.once or has_come(stop):
                    return 0
                outbox.wait(stop)
        except (psycopg2.Error, OSError) as error:  # which SMTP's are, too
            logging.error('%s', str(error).strip())
            mail.close()
            if options.once or has_come(stop, options.poll):
                return int(options.once)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--dsn', default='', help='the database, as libpq takes it')
    parser.add_argument('--smtp', default='localhost:25', metavar='HOST:PORT')
    parser.add_argument('--from', required=True, dest='sender', metavar='ADDRESS')
    parser.add_argument('--batch', type=int, default=100, help='messages to claim at once (100)')
    parser.add_argument('--lease', type=float, default=300, help='seconds to send a batch in (300)')
    parser.add_argument('--poll',
                        type=float,
                        default=10,
                        help='seconds until it looks without being told (10)')
    parser.add_argument('--unsubscribe-url',
                        metavar='TEMPLATE',
                        help='https://... with {customer_id} and {signature}')
    parser.add_argument('--once', action='store_true', help='exit when nothing is ready')
    options = parser.parse_args()
    options.host, _, port = options.smtp.rpartition(':')
    options.port, options.address = int(port), checked(parseaddr(options.sender)[1])
    options.domain = options.address.rpartition('@')[2]
    if options.unsubscribe_url:
        # What is wrong with it should fail now, not with every message
        unsubscribe_url(options.unsubscribe_url, '')
    return options


if __name__ == '__main__':
    # To stderr
    logging.basicConfig(format='%(asctime)s %(levelname)s %(message)s', level=logging.INFO)
    raise SystemExit(run(parse_arguments()))
