-- Messages and coupons.

CREATE TABLE retention.message (
  message_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  enrollment_id   bigint NOT NULL,
  flow_id         integer NOT NULL,
  node_id         integer NOT NULL,
  attempts        integer NOT NULL DEFAULT 0,
  queued_at       timestamptz NOT NULL,
  ready_at        timestamptz,
  expires_at      timestamptz,
  sent_at         timestamptz,
  node            text COLLATE "C" NOT NULL,
  channel         text COLLATE "C" NOT NULL,
  state           text COLLATE "C" NOT NULL
                  CHECK (state IN ('held', 'ready', 'leased', 'sent', 'dead', 'suppressed', 'ghost',
                                   'error')),
  reason          text,
  customer_id     text COLLATE "C",
  address         text,
  idempotency_key text GENERATED ALWAYS AS (enrollment_id::text || ':' || node) STORED,
  subject         text,
  body            text,
  text            text,
  context         jsonb,
  last_error      text,
  UNIQUE (enrollment_id, node)
) WITH (fillfactor = 70);
CREATE INDEX message_claim ON retention.message (channel, ready_at, message_id)
  WHERE state IN ('ready', 'leased');
CREATE INDEX message_customer ON retention.message (customer_id, queued_at);
CREATE INDEX message_failed ON retention.message (flow_id) WHERE state IN ('error', 'dead');
COMMENT ON TABLE retention.message IS
  'The outbox: one row for each enrollment and message, also for those that were not sent, with '
  'the reason.';
COMMENT ON COLUMN retention.message.message_id IS 'Number of the message.';
COMMENT ON COLUMN retention.message.enrollment_id IS 'Enrollment that it belongs to.';
COMMENT ON COLUMN retention.message.flow_id IS 'Flow that it belongs to.';
COMMENT ON COLUMN retention.message.node_id IS 'Node of the version that wrote it.';
COMMENT ON COLUMN retention.message.attempts IS 'How often it was claimed.';
COMMENT ON COLUMN retention.message.queued_at IS 'Engine''s time at which it was written.';
COMMENT ON COLUMN retention.message.ready_at IS
  'From when on it can be claimed; while leased, again.';
COMMENT ON COLUMN retention.message.expires_at IS 'Until when it may be sent.';
COMMENT ON COLUMN retention.message.sent_at IS 'When it was sent, as its sender says.';
COMMENT ON COLUMN retention.message.node IS 'Id of its node.';
COMMENT ON COLUMN retention.message.channel IS 'email, sms, push or webhook.';
COMMENT ON COLUMN retention.message.state IS
  'held: waits for approve, or for the end of a pause; ready; leased: claimed by a sender; sent; '
  'dead: sending failed for good; suppressed: not to be sent; ghost: not sent, for its customer '
  'is in the holdout; error: it could not be written.';
COMMENT ON COLUMN retention.message.reason IS 'Why it is held, suppressed or in error.';
COMMENT ON COLUMN retention.message.customer_id IS
  'The shop''s key of the customer, as text; null after forget.';
COMMENT ON COLUMN retention.message.address IS 'Where it goes.';
COMMENT ON COLUMN retention.message.idempotency_key IS
  'enrollment:node, by which a receiver can tell a repeated message.';
COMMENT ON COLUMN retention.message.subject IS 'Rendered subject.';
COMMENT ON COLUMN retention.message.body IS 'Rendered body: of an email HTML.';
COMMENT ON COLUMN retention.message.text IS
  'Rendered plain text of an email, where the node has one.';
COMMENT ON COLUMN retention.message.context IS 'What the templates were rendered with.';
COMMENT ON COLUMN retention.message.last_error IS 'What the last failed attempt said.';

CREATE TABLE retention.last_message (
  customer_id text COLLATE "C" NOT NULL,
  channel     text COLLATE "C" NOT NULL,
  queued_at   timestamptz NOT NULL,
  apart       interval NOT NULL,
  previous_at timestamptz,
  PRIMARY KEY (customer_id, channel)
) WITH (fillfactor = 70);
COMMENT ON TABLE retention.last_message IS
  'When each customer last got a message on each channel: what smart sending goes by.';
COMMENT ON COLUMN retention.last_message.customer_id IS 'The shop''s key of the customer, as text.';
COMMENT ON COLUMN retention.last_message.channel IS 'email, sms, push or webhook.';
COMMENT ON COLUMN retention.last_message.queued_at IS 'Engine''s time of that message.';
COMMENT ON COLUMN retention.last_message.previous_at IS
  'Engine''s time of the one before; null: there was none.';
COMMENT ON COLUMN retention.last_message.apart IS
  'How far apart from the one before that message had to be.';

CREATE TYPE retention._message_rule AS (
  node_id          integer,
  node             text,
  channel          text,
  subject          text,
  body             text,
  text             text,
  url              text,
  is_transactional boolean,
  apart            interval,
  address_apart    interval,
  lateness         interval,
  needs_approval   boolean
);
COMMENT ON TYPE retention._message_rule IS
  'What a message node says of its messages: templates, and how they are sent.';

CREATE TYPE retention._sending AS (
  customer_id   text,
  channel       text,
  enrollment_id bigint,
  node_id       integer,
  apart         interval
);
COMMENT ON TYPE retention._sending IS
  'A message that is about to be sent, as smart sending sees it.';

CREATE TYPE retention.claimed_message AS (
  message_id      bigint,
  idempotency_key text,
  flow            text,
  node            text,
  customer_id     text,
  channel         text,
  address         text,
  subject         text,
  body            text,
  text            text,
  context         jsonb,
  attempt         integer,
  lease_until     timestamptz
);
COMMENT ON TYPE retention.claimed_message IS
  'A message that a sender has claimed: the result of claim_messages.';
COMMENT ON COLUMN retention.claimed_message.message_id IS
  'Number of the message, for ack and fail.';
COMMENT ON COLUMN retention.claimed_message.idempotency_key IS
  'enrollment:node, by which a receiver can tell a repeated message.';
COMMENT ON COLUMN retention.claimed_message.flow IS 'Name of the flow.';
COMMENT ON COLUMN retention.claimed_message.node IS 'Id of the message''s node.';
COMMENT ON COLUMN retention.claimed_message.customer_id IS
  'The shop''s key of the customer, as text.';
COMMENT ON COLUMN retention.claimed_message.channel IS 'email, sms, push or webhook.';
COMMENT ON COLUMN retention.claimed_message.address IS 'Where it goes, as the contact has it now.';
COMMENT ON COLUMN retention.claimed_message.subject IS 'Rendered subject.';
COMMENT ON COLUMN retention.claimed_message.body IS 'Rendered body: of an email HTML.';
COMMENT ON COLUMN retention.claimed_message.text IS
  'Rendered plain text of an email, where the node has one.';
COMMENT ON COLUMN retention.claimed_message.context IS 'What the templates were rendered with.';
COMMENT ON COLUMN retention.claimed_message.attempt IS 'Which attempt to send it this is.';
COMMENT ON COLUMN retention.claimed_message.lease_until IS 'Until when others leave it alone.';

CREATE TABLE retention.address_grant (
  slot       bigint PRIMARY KEY,
  holder     bigint NOT NULL,
  message_id bigint NOT NULL,
  queued_at  timestamptz NOT NULL,
  apart      interval NOT NULL
) WITH (fillfactor = 70);
COMMENT ON TABLE retention.address_grant IS
  'Whose message of a flow went last to an address: what one_per_address goes by.';
COMMENT ON COLUMN retention.address_grant.slot IS
  'Hash of the flow, its message''s node and the address.';
COMMENT ON COLUMN retention.address_grant.holder IS 'Hash of the customer''s key.';
COMMENT ON COLUMN retention.address_grant.message_id IS 'The message.';
COMMENT ON COLUMN retention.address_grant.queued_at IS 'Engine''s time of that message.';
COMMENT ON COLUMN retention.address_grant.apart IS
  'How far apart from the one before that message had to be.';
SELECT pg_extension_config_dump('retention.message', '');
SELECT pg_extension_config_dump('retention.message_message_id_seq', '');
SELECT pg_extension_config_dump('retention.last_message', '');
SELECT pg_extension_config_dump('retention.address_grant', '');

CREATE TYPE retention._failed_message AS (
  message_id    bigint,
  enrollment_id bigint,
  node_id       integer,
  written_by    integer,
  customer_id   text,
  address       text,
  context       jsonb,
  is_rendered   boolean,
  lacks_code    boolean
);
COMMENT ON TYPE retention._failed_message IS
  'A message in error, or dead: the node that writes it now, and the one that did; whether its '
  'text can stay, and whether its code was taken back.';
