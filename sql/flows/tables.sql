-- Flows, their versions and nodes, and the enrollments of customers.

CREATE TABLE retention.flow (
  flow_id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  flow             text COLLATE "C" NOT NULL UNIQUE,
  owner            name NOT NULL,
  owner_id         oid NOT NULL DEFAULT 0,
  status           text NOT NULL DEFAULT 'draft' CHECK (status IN ('draft', 'manual', 'live',
      'paused', 'archived')),
  draft            jsonb NOT NULL,
  version          integer,
  running_since    timestamptz,
  trigger_position bigint,
  fires_at         timestamptz,
  error            text,
  error_code       text,
  error_at         timestamptz,
  failures         integer NOT NULL DEFAULT 0
);
COMMENT ON TABLE retention.flow IS 'Flows, with their status. Made by create_flow.';
COMMENT ON COLUMN retention.flow.flow_id IS 'Number of the flow.';
COMMENT ON COLUMN retention.flow.flow IS 'Name of the flow.';
COMMENT ON COLUMN retention.flow.owner IS
  'Role with whose rights its expressions are run: who made it, or was made its owner by '
  'set_flow_owner.';
COMMENT ON COLUMN retention.flow.owner_id IS
  'That role by its number, which a renamed one keeps, and another one of the same name has not; '
  '0: there is none of the name.';
COMMENT ON COLUMN retention.flow.status IS
  'draft, manual, live, paused or archived. Changed by set_status.';
COMMENT ON COLUMN retention.flow.draft IS
  'The document as last given to create_flow; publish makes a version of it.';
COMMENT ON COLUMN retention.flow.version IS
  'Version that new enrollments run; null before the first publish.';
COMMENT ON COLUMN retention.flow.running_since IS
  'Engine''s time since when it is live or manual: what happened before starts nothing.';
COMMENT ON COLUMN retention.flow.trigger_position IS
  'Last change or event that has been looked at, by the trigger''s own numbers.';
COMMENT ON COLUMN retention.flow.fires_at IS 'When a trigger of dates or a schedule is due next.';
COMMENT ON COLUMN retention.flow.error IS
  'Why nobody can enter: the trigger or the entry filter cannot be run any more; null: they can.';
COMMENT ON COLUMN retention.flow.error_code IS 'SQLSTATE of that error.';
COMMENT ON COLUMN retention.flow.error_at IS 'Engine''s time of that error.';
COMMENT ON COLUMN retention.flow.failures IS
  'How often in a row; it is tried again after a minute, then two, four, up to an hour.';

CREATE TABLE retention.flow_home (
  only_one   boolean PRIMARY KEY DEFAULT true CHECK (only_one),
  here       text NOT NULL,
  decided_at timestamptz NOT NULL
);
COMMENT ON TABLE retention.flow_home IS
  'The database in which flows run and messages are sent. Written when the first flow goes live, '
  'and by resume_here.';
COMMENT ON COLUMN retention.flow_home.only_one IS 'There is one row at most.';
COMMENT ON COLUMN retention.flow_home.here IS
  'Identifier of the cluster and number of the database: a restored copy has others.';
COMMENT ON COLUMN retention.flow_home.decided_at IS 'Engine''s time since when.';

CREATE TABLE retention.flow_version (
  flow_id      integer NOT NULL,
  version      integer NOT NULL,
  document     jsonb NOT NULL,
  published_at timestamptz NOT NULL,
  PRIMARY KEY (flow_id, version)
);
COMMENT ON TABLE retention.flow_version IS
  'Published documents, which never change. Written by publish.';
COMMENT ON COLUMN retention.flow_version.flow_id IS 'Number of the flow.';
COMMENT ON COLUMN retention.flow_version.version IS 'Number of the version, from 1.';
COMMENT ON COLUMN retention.flow_version.document IS 'The document.';
COMMENT ON COLUMN retention.flow_version.published_at IS 'Engine''s time of its publication.';

CREATE TABLE retention.flow_node (
  node_id  integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  flow_id  integer NOT NULL,
  version  integer NOT NULL,
  node     text COLLATE "C" NOT NULL,
  type     text NOT NULL,
  config   jsonb NOT NULL,
  targets  integer[] NOT NULL,
  branch   text,
  due      text,
  payload  text,
  error      text,
  error_code text,
  error_at   timestamptz,
  failures   integer NOT NULL DEFAULT 0,
  status     text CHECK (status IN ('draft', 'manual', 'live')),
  UNIQUE (flow_id, version, node)
);
COMMENT ON TABLE retention.flow_node IS
  'The nodes of published versions, compiled. Written by publish.';
COMMENT ON COLUMN retention.flow_node.node_id IS
  'Number of the node: in each version greater than those of all nodes that lead to it.';
COMMENT ON COLUMN retention.flow_node.flow_id IS 'Number of the flow.';
COMMENT ON COLUMN retention.flow_node.version IS 'Number of the version.';
COMMENT ON COLUMN retention.flow_node.node IS 'Its id in the document.';
COMMENT ON COLUMN retention.flow_node.type IS
  'message, delay, wait_for, split, random_split, set_property, coupon, enter_flow or exit.';
COMMENT ON COLUMN retention.flow_node.config IS 'The node as it stands in the document.';
COMMENT ON COLUMN retention.flow_node.targets IS
  'Numbers of the nodes that its branches lead to; null: the end.';
COMMENT ON COLUMN retention.flow_node.branch IS 'Expression for which branch a customer takes.';
COMMENT ON COLUMN retention.flow_node.due IS
  'Expression for how long a customer waits here; null or past: not at all.';
COMMENT ON COLUMN retention.flow_node.payload IS
  'Expression for what the node hands on: a message''s context, properties to set.';
COMMENT ON COLUMN retention.flow_node.error IS
  'Why customers wait here: an expression that cannot be run, for now or any more; null when it '
  'can.';
COMMENT ON COLUMN retention.flow_node.error_code IS 'SQLSTATE of that error.';
COMMENT ON COLUMN retention.flow_node.error_at IS 'Engine''s time of that error.';
COMMENT ON COLUMN retention.flow_node.failures IS
  'How often in a row; they are tried again after a minute, then two, four, up to an hour.';
COMMENT ON COLUMN retention.flow_node.status IS
  'Of a message: draft, manual or live, in all versions what set_status has said last.';

CREATE TABLE retention.flow_entry (
  flow_id     integer NOT NULL,
  customer_id text COLLATE "C" NOT NULL,
  event       jsonb NOT NULL,
  number      bigint GENERATED ALWAYS AS IDENTITY,
  due_at      timestamptz,
  error       text,
  error_code  text,
  failures    integer NOT NULL DEFAULT 0,
  PRIMARY KEY (flow_id, number)
);
COMMENT ON TABLE retention.flow_entry IS
  'Who is to enter a flow with the next tick: by enroll, from another flow, by a date or a '
  'schedule.';
COMMENT ON COLUMN retention.flow_entry.flow_id IS 'Number of the flow.';
COMMENT ON COLUMN retention.flow_entry.customer_id IS 'The shop''s key of the customer, as text.';
COMMENT ON COLUMN retention.flow_entry.event IS 'What the flow will see as its event.';
COMMENT ON COLUMN retention.flow_entry.number IS 'They enter in this order.';
COMMENT ON COLUMN retention.flow_entry.due_at IS
  'When it is tried again, where the entry filter could not be run for this customer; null: now.';
COMMENT ON COLUMN retention.flow_entry.error IS 'Why it could not be run.';
COMMENT ON COLUMN retention.flow_entry.error_code IS 'SQLSTATE of that error.';
COMMENT ON COLUMN retention.flow_entry.failures IS
  'How often in a row; it is tried again after a minute, then two, four, up to an hour.';

CREATE TABLE retention.changed_customers (
  customer_ids text[] NOT NULL,
  noted_at     timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE retention.changed_customers REPLICA IDENTITY FULL;
COMMENT ON TABLE retention.changed_customers IS
  'Customers who have changed since the last tick, so that flows look again whether they wait for '
  'it or have to exit. Written while any flow runs.';
COMMENT ON COLUMN retention.changed_customers.customer_ids IS 'Keys of customers.';
COMMENT ON COLUMN retention.changed_customers.noted_at IS 'Real time at which they were noted.';

CREATE TABLE retention.enrollment (
  enrollment_id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  flow_id       integer NOT NULL,
  node_id       integer NOT NULL,
  is_holdout    boolean NOT NULL,
  entered_at    timestamptz NOT NULL,
  since         timestamptz,
  due_at        timestamptz,
  finished_at   timestamptz,
  customer_id   text COLLATE "C",
  outcome       text,
  reason        text,
  error_code    text,
  event         jsonb NOT NULL,
  by_settings   boolean,
  settings_at   timestamptz
);
CREATE INDEX enrollment_due ON retention.enrollment (flow_id, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX enrollment_customer ON retention.enrollment (customer_id, flow_id);
CREATE INDEX enrollment_failed ON retention.enrollment (flow_id) WHERE outcome = 'error';
COMMENT ON TABLE retention.enrollment IS
  'Customers in flows: where each one is, and how it ended. flow_enrollment shows it with names.';
COMMENT ON COLUMN retention.enrollment.enrollment_id IS 'Number of the enrollment.';
COMMENT ON COLUMN retention.enrollment.flow_id IS 'Number of the flow.';
COMMENT ON COLUMN retention.enrollment.node_id IS 'Node at which the customer waits, or was last.';
COMMENT ON COLUMN retention.enrollment.is_holdout IS
  'Whether the customer passes through without messages.';
COMMENT ON COLUMN retention.enrollment.entered_at IS
  'Engine''s time at which the customer entered.';
COMMENT ON COLUMN retention.enrollment.since IS
  'Since when the customer waits at this node; null: comes to it when due.';
COMMENT ON COLUMN retention.enrollment.due_at IS 'When it goes on; null: ended.';
COMMENT ON COLUMN retention.enrollment.finished_at IS 'Engine''s time at which it ended.';
COMMENT ON COLUMN retention.enrollment.customer_id IS
  'The shop''s key of the customer, as text; null after forget.';
COMMENT ON COLUMN retention.enrollment.outcome IS
  'How it ended: completed, exited, filtered, exhausted, archived, forgotten, error, or what an '
  'exit node says.';
COMMENT ON COLUMN retention.enrollment.reason IS 'Of an error: what went wrong.';
COMMENT ON COLUMN retention.enrollment.error_code IS 'Of an error: its SQLSTATE.';
COMMENT ON COLUMN retention.enrollment.event IS 'What started it.';
COMMENT ON COLUMN retention.enrollment.by_settings IS
  'Of a wait_for whose condition held when settings changed: whether it did only afterwards. Then '
  'it wakes nobody until it has ceased to hold, or the customer has ordered. Null: it did not '
  'hold, or has been looked at since.';
COMMENT ON COLUMN retention.enrollment.settings_at IS
  'Engine''s time at which that was found: an order that became known later counts.';

CREATE TABLE retention.coupon_pool (
  pool      text COLLATE "C" PRIMARY KEY CHECK (pool <> ''),
  prefix    text,
  length    integer CHECK (length BETWEEN 6 AND 40),
  valid_for interval CHECK (retention._span_problem(valid_for, 1) IS NULL)
);
COMMENT ON TABLE retention.coupon_pool IS
  'Where coupon nodes take codes from. Made by add_coupon_pool.';
COMMENT ON COLUMN retention.coupon_pool.pool IS 'Name of the pool.';
COMMENT ON COLUMN retention.coupon_pool.prefix IS 'What generated codes begin with.';
COMMENT ON COLUMN retention.coupon_pool.length IS
  'Random letters and digits of a generated code; null: codes are imported.';
COMMENT ON COLUMN retention.coupon_pool.valid_for IS
  'How long a code is valid after it was issued; null: for ever.';

CREATE TABLE retention.coupon (
  pool          text COLLATE "C" NOT NULL,
  code          text COLLATE "C" NOT NULL,
  enrollment_id bigint,
  node          text COLLATE "C",
  customer_id   text COLLATE "C",
  issued_at     timestamptz,
  expires_at    timestamptz,
  PRIMARY KEY (pool, code),
  UNIQUE (enrollment_id, node)
);
CREATE INDEX coupon_free ON retention.coupon (pool, code) WHERE issued_at IS NULL;
COMMENT ON TABLE retention.coupon IS
  'Codes: imported ones that are free, and those that were issued, each once.';
COMMENT ON COLUMN retention.coupon.pool IS 'Pool of the code.';
COMMENT ON COLUMN retention.coupon.code IS 'The code.';
COMMENT ON COLUMN retention.coupon.enrollment_id IS 'Enrollment that it was issued to.';
COMMENT ON COLUMN retention.coupon.node IS 'Node that issued it.';
COMMENT ON COLUMN retention.coupon.customer_id IS
  'The shop''s key of the customer; null after forget.';
COMMENT ON COLUMN retention.coupon.issued_at IS 'Engine''s time of issue; null: free.';
COMMENT ON COLUMN retention.coupon.expires_at IS 'Until when it is valid; null: for ever.';

-- Internal: what a tick passes from step to step.
CREATE TYPE retention._traveller AS (
  enrollment_id bigint,
  flow_id       integer,
  node_id       integer,
  is_holdout    boolean,
  entered_at    timestamptz,
  since         timestamptz,
  due_at        timestamptz,
  customer_id   text,
  event         jsonb,
  properties    jsonb,
  outcome       text,
  reason        text,
  error_code    text,
  is_new        boolean,
  is_changed    boolean,
  is_waiting    boolean,
  contact       retention.contact,
  by_settings   boolean
);
COMMENT ON TYPE retention._traveller IS
  'An enrollment on its way through a tick: its row, properties that were set, whether it has to '
  'be written, whether it waits, and its customer''s contact.';

CREATE TYPE retention._queued_message AS (
  enrollment_id bigint,
  flow_id       integer,
  node_id       integer,
  customer_id   text,
  due_at        timestamptz,
  reason        text,
  address       text,
  context       jsonb
);
COMMENT ON TYPE retention._queued_message IS
  'A message that a node has decided on in a tick, to be rendered and written at its end.';

CREATE OR REPLACE VIEW retention.flow_enrollment AS
  SELECT f.flow, n.version, e.enrollment_id, e.customer_id, n.node, e.entered_at, e.since, e.due_at,
         e.is_holdout, e.event, e.outcome, e.reason, e.finished_at
  FROM retention.enrollment e
  JOIN retention.flow_node n USING (node_id)
  JOIN retention.flow f ON f.flow_id = e.flow_id;
COMMENT ON VIEW retention.flow_enrollment IS
  'Customers in flows: where each one is, and how it ended.';
COMMENT ON COLUMN retention.flow_enrollment.flow IS 'Name of the flow.';
COMMENT ON COLUMN retention.flow_enrollment.version IS 'Version that the customer goes through.';
COMMENT ON COLUMN retention.flow_enrollment.enrollment_id IS 'Number of the enrollment.';
COMMENT ON COLUMN retention.flow_enrollment.customer_id IS
  'The shop''s key of the customer; null after forget.';
COMMENT ON COLUMN retention.flow_enrollment.node IS
  'Id of the node at which the customer waits, or was last.';
COMMENT ON COLUMN retention.flow_enrollment.entered_at IS
  'Engine''s time at which the customer entered.';
COMMENT ON COLUMN retention.flow_enrollment.since IS 'Since when the customer waits at this node.';
COMMENT ON COLUMN retention.flow_enrollment.due_at IS 'When it goes on; null: ended.';
COMMENT ON COLUMN retention.flow_enrollment.is_holdout IS
  'Whether the customer passes through without messages.';
COMMENT ON COLUMN retention.flow_enrollment.event IS 'What started it.';
COMMENT ON COLUMN retention.flow_enrollment.outcome IS 'How it ended; null while it runs.';
COMMENT ON COLUMN retention.flow_enrollment.reason IS 'Of an error: what went wrong.';
COMMENT ON COLUMN retention.flow_enrollment.finished_at IS 'Engine''s time at which it ended.';
SELECT pg_extension_config_dump('retention.flow', '');
SELECT pg_extension_config_dump('retention.flow_home', '');
SELECT pg_extension_config_dump('retention.flow_flow_id_seq', '');
SELECT pg_extension_config_dump('retention.flow_version', '');
SELECT pg_extension_config_dump('retention.flow_node', '');
SELECT pg_extension_config_dump('retention.flow_node_node_id_seq', '');
SELECT pg_extension_config_dump('retention.flow_entry', '');
SELECT pg_extension_config_dump('retention.flow_entry_number_seq', '');
SELECT pg_extension_config_dump('retention.changed_customers', '');
SELECT pg_extension_config_dump('retention.enrollment', '');
SELECT pg_extension_config_dump('retention.enrollment_enrollment_id_seq', '');
SELECT pg_extension_config_dump('retention.coupon_pool', '');
SELECT pg_extension_config_dump('retention.coupon', '');
