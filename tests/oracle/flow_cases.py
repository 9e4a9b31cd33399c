"""Cases with answers worked out by hand, for the reference interpreter itself. They need no
database.
"""

from datetime import datetime, time, timedelta
from types import SimpleNamespace

import flow_time
from flow_interpreter import Interpreter, render
from flow_time import UTC, add, first_moment, parse_interval
from flow_vocabulary import known

WARSAW, NEW_YORK = 'Europe/Warsaw', 'America/New_York'
LORD_HOWE, KOLKATA = 'Australia/Lord_Howe', 'Asia/Kolkata'


def check(what, shown, expected):
    print(f'{"ok" if shown == expected else "not ok"} - {what}')
    if shown != expected:
        print(f'! {shown} instead of {expected}')


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# Local times.

def delayed(start, interval, zone):
    return add(at(start), parse_interval(interval), zone)


def check_intervals():
    for what, start, interval, zone, expected in (
        ('a day over the start of summer time has 23 hours', '2024-03-30 12:00', '1 day', WARSAW,
         '2024-03-31 11:00'), ('24 hours are 24 hours', '2024-03-30 12:00', '24 hours', WARSAW,
                               '2024-03-31 12:00'),
        ('a day to a time that does not exist ends an hour later', '2024-03-30 01:30', '1 day',
         WARSAW, '2024-03-31 01:30'), ('a day to a time that comes twice ends at the second',
                                       '2024-10-26 00:30', '1 day', WARSAW, '2024-10-27 01:30'),
        ('a month ends at its last day', '2024-01-31 10:00', '1 month', WARSAW, '2024-02-29 10:00'),
        ('a month over the start of summer time', '2024-03-01 17:00', '1 month', NEW_YORK,
         '2024-04-01 16:00'), ('hours come after days', '2024-03-30 12:00', '1 day 3 hours', WARSAW,
                               '2024-03-31 14:00'),
        ('half an hour is missing on Lord Howe', '2024-10-04 15:45', '1 day', LORD_HOWE,
         '2024-10-05 15:45'), ('a day later on Lord Howe', '2024-10-05 01:00', '1 day', LORD_HOWE,
                               '2024-10-06 00:30'), ('zones of half hours', '2024-03-30 12:00',
                                                     '1 week', KOLKATA, '2024-04-06 12:00')):
        check(what, delayed(start, interval, zone), at(expected))


def check_moments():
    for what, base, weekdays, time_of_day, zone, expected in (
        ('the same day at 9', '2024-03-29 07:00', None, time(9),
         WARSAW, '2024-03-29 08:00'), ('exactly at 9 is not earlier', '2024-03-29 08:00', None,
                                       time(9), WARSAW, '2024-03-29 08:00'),
        ('the next day, in summer', '2024-03-30 08:00:01', None, time(9), WARSAW,
         '2024-03-31 07:00'), ('2:30 does not exist', '2024-03-30 23:00', None, time(2, 30), WARSAW,
                               '2024-03-31 01:30'), ('2:30 comes twice', '2024-10-27 00:35', None,
                                                     time(2, 30), WARSAW, '2024-10-27 01:30'),
        ('any time of a day that fits', '2024-03-29 07:00', ['friday'], None, WARSAW,
         '2024-03-29 07:00'), ('else its beginning', '2024-03-29 07:00', ['sunday', 'monday'], None,
                               WARSAW, '2024-03-30 23:00'),
        ('the weekday is the local one', '2024-03-29 20:00', ['saturday'], None, KOLKATA,
         '2024-03-29 20:00'), ('next week', '2024-03-29 09:00', ['friday'], time(9), WARSAW,
                               '2024-04-05 07:00')):
        check(what, first_moment(at(base), weekdays, time_of_day, zone), at(expected))
    check(
        'every day of a schedule, once',
        flow_time.moments_between(at('2024-10-25 07:00'), at('2024-10-28 08:00'), None, time(9),
                                  WARSAW),
        [at('2024-10-26 07:00'),
         at('2024-10-27 08:00'),
         at('2024-10-28 08:00')])
    check('quiet past midnight', [
        flow_time.is_quiet(at(f'2024-01-01 {hour}:00'), time(21), time(8), WARSAW)
        for hour in ('19', '20', '03', '06', '07')], [False, True, True, True, False])


def check_templates():
    context = {
        'person': {'name': '<O\'Neil> & "Co"', 'n': 3, 'none': None}, 'event': {}, 'coupon': None}
    check('values are escaped, the template is not',
          render('<b>{{ person.name }}</b> {{ person.n }}', context, escape=True),
          '<b>&lt;O&#39;Neil&gt; &amp; &quot;Co&quot;</b> 3')
    check('a default', render('{{ person.none|default:"-" }}{{ person.other|default:"" }}',
                              context), '-')


# Flows of one customer, who has the profile and contact given. A tick tells what there is
# afterwards.

class Case:
    def __init__(self, nodes, contact=None, **keys):
        self.now = at('2024-03-29 10:00')
        self.interpreter = Interpreter(lambda key, salt: 4000)
        contact = {
            'email': 'a@example.com', 'email_consent': True, 'time_zone': WARSAW, 'properties': {},
            **(contact or {})}
        self.facts = SimpleNamespace(profiles={'1': {}},
                                     contacts={'1': contact},
                                     segment_changes=[],
                                     rfm_changes=[],
                                     order_events=[])
        self.interpreter.publish(
            {'name': 'f', 'trigger': {'type': 'manual'}, 'nodes': nodes, **keys}, self.now)
        self.interpreter.set_status('f', 'live', self.now)

    def enroll(self, event=None):
        self.interpreter.enroll('f', '1', event or {})
        return self

    def tick(self, moment):
        self.interpreter.tick(at(moment), self.facts)
        return self

    def ends(self):
        return [(e.node, e.outcome or e.due_at) for e in self.interpreter.enrollments]

    def sent(self):
        return [(m.node, m.state, m.reason) for m in self.interpreter.messages]


def mail(node_id, next_id=None, **keys):
    node = {
        'id': node_id, 'type': 'message', 'channel': 'email', 'subject': 'Hello', 'body': 'Hello',
        **keys}
    return {**node, 'next': next_id} if next_id else node


def check_flows():
    delay = {'id': 'd', 'type': 'delay', 'for': '1 day', 'next': 'b'}
    case = Case([mail('a', 'd'), delay, mail('b')],
                reentry='always').enroll().tick('2024-03-29 11:00')
    check('a message, then a delay', (case.ends(), case.sent()),
          ([('d', at('2024-03-30 11:00'))], [('a', 'ready', None)]))
    check('nothing is due', case.tick('2024-03-30 10:59').sent(), [('a', 'ready', None)])
    check('a second entry has to wait', len(case.enroll().tick('2024-03-30 10:59').ends()), 1)
    case.tick('2024-03-30 11:00')
    check('due', (case.ends(), case.sent()[1:]), ([('b', 'completed')], [('b', 'ready', None)]))
    case.enroll().tick('2024-03-31 02:59')
    check('smart sending lasts 16 hours', case.sent()[2:], [('a', 'suppressed', 'smart sending')])

    quiet = {'from': '21:00', 'until': '08:00'}
    case = Case([mail('a')], quiet_hours=quiet).enroll().tick('2024-03-30 22:00')
    check('quiet hours end in local time', (case.ends(), case.sent()),
          ([('a', at('2024-03-31 06:00'))], []))
    check('and no sooner', case.tick('2024-03-31 05:59').sent(), [])
    check('then it goes', case.tick('2024-03-31 06:00').sent(), [('a', 'ready', None)])
    check(
        'a transactional one goes at once',
        Case([mail('a', transactional=True)], contact={'email_consent': False},
             quiet_hours=quiet).enroll().tick('2024-03-30 22:00').sent(), [('a', 'ready', None)])

    case = Case([{**delay, 'id': 'first'}, mail('b', lateness='2 hours')
                 ]).enroll().tick('2024-03-29 11:00').tick('2024-03-30 14:00')
    check('late', case.sent(), [('b', 'suppressed', 'late')])
    for what, keys, contact, expected in (('the holdout', {'holdout': 41}, None,
                                           ('a', 'ghost',
                                            'holdout')), ('not in the holdout', {'holdout': 40},
                                                          None, ('a', 'ready', None)),
                                          ('no address', {}, {'email': None}, ('a', 'suppressed',
                                                                               'no address')),
                                          ('no consent', {}, {'email_consent': None},
                                           ('a', 'suppressed', 'no consent'))):
        check(what,
              Case([mail('a')], contact, **keys).enroll().tick('2024-03-29 11:00').sent(),
              [expected])


def check_waiting():
    known('sms_consent', lambda row: row.contact.get('sms_consent'))
    wait = {
        'id': 'w', 'type': 'wait_for', 'condition': 'sms_consent', 'timeout': '72 hours',
        'next': 'yes', 'else': 'no'}
    nodes = [wait, {'id': 'yes', 'type': 'exit', 'outcome': 'bought'}, {'id': 'no', 'type': 'exit'}]
    for what, moments, paid, expected in (('a timeout', ['2024-03-30 11:00', '2024-04-01 11:00'],
                                           None, ('no', 'completed')),
                                          ('a condition', ['2024-03-30 11:00', '2024-03-31 11:00'],
                                           1, ('yes', 'bought')), ('a condition at the timeout', [
                                               '2024-03-30 11:00',
                                               '2024-04-07 11:00'], 1, ('yes', 'bought')),
                                          ('not yet', ['2024-04-01 10:59'], None,
                                           ('w', at('2024-04-01 11:00')))):
        case = Case(nodes).enroll().tick('2024-03-29 11:00')
        for number, moment in enumerate(moments):
            case.facts.contacts['1']['sms_consent'] = paid is not None and number >= paid
            case.tick(moment)
        check(f'wait_for: {what}', case.ends(), [expected])
    case = Case(nodes, exit='sms_consent').enroll().tick('2024-03-29 11:00')
    case.facts.contacts['1']['sms_consent'] = True
    check('an exit comes first', case.tick('2024-03-29 12:00').ends(), [('w', 'exited')])


def run():
    check_intervals()
    check_moments()
    check_templates()
    check_flows()
    check_waiting()


if __name__ == '__main__':
    run()
