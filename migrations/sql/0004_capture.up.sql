-- Triggers that write the key, index and scope columns of chosen tables into aside_outbox, whoever changes the rows: see
-- docs/capture.md. What is here makes them; "aside capture" writes the migrations that call it.

-- Changes are read once and deleted: to compress a long list takes longer than to write it.
ALTER TABLE aside_outbox ALTER changes SET STORAGE EXTERNAL;

-- In the place of a column that is gone, see aside_capture.
CREATE DOMAIN aside_absent AS text;
COMMENT ON DOMAIN aside_absent IS 'What a capturing trigger of the library Aside finds in the place of a column that the table no longer has';

-- aside_capture_tree finds a table by the name in a model.Spec, whose parts are spelled exactly, and lists it with its
-- partitions of every level: a statement fires the statement triggers of the table that it names and of no other, be that
-- the root, a partition with partitions of its own, or a leaf.
CREATE FUNCTION aside_capture_tree(name text) RETURNS SETOF regclass LANGUAGE plpgsql STABLE AS $tree$
DECLARE
	root regclass := to_regclass(array_to_string(ARRAY(SELECT quote_ident(p) FROM unnest(string_to_array(name, '.')) p), '.'));
BEGIN
	IF root IS NULL THEN
		RAISE undefined_table USING MESSAGE = format('aside: there is no table %s', name);
	END IF;
	IF (SELECT relispartition OR relkind NOT IN ('r', 'p') OR relpersistence = 't' FROM pg_class WHERE oid = root) THEN
		RAISE wrong_object_type USING MESSAGE = format('aside: %s cannot be captured: it is a partition, temporary, or no table', root),
			HINT = 'A partition is captured with the table that it is part of.';
	END IF;
	RETURN NEXT root;
	RETURN QUERY SELECT t.relid FROM pg_partition_tree(root) t JOIN pg_class c ON c.oid = t.relid
		WHERE t.relid <> root AND c.relkind IN ('r', 'p') ORDER BY t.level, c.relname;
END $tree$;
COMMENT ON FUNCTION aside_capture_tree(text) IS 'A table and its partitions of every level';

-- aside_capture_insert is the statement that writes a row of aside_outbox for each n that the queries give; NULL: no side. They
-- have the columns n, v (rows, an array of arrays of texts) and gone (a column is).
--
-- Rows stand in changes as the text of an array, {{1,a},{2,NULL}}: as arrays of JSON, 10,000 of them would take twice the time
-- of all else here. An update that leaves the captured columns as they were lists them once; a transition table has the
-- rows of both sides in the same order.
CREATE FUNCTION aside_capture_insert(head jsonb, op text, before text, after text) RETURNS text LANGUAGE sql IMMUTABLE AS $insert$
	SELECT format('INSERT INTO aside_outbox (changes) SELECT jsonb_build_array(CASE WHEN gone THEN %L::jsonb ELSE %L::jsonb END || jsonb_build_object(%s)) FROM %s',
		head || jsonb_build_object('op', op, 'stale', 'a captured column is gone or has another type'),
		head || jsonb_build_object('op', op),
		CASE WHEN before IS NULL THEN '''n'', array_length(a.v, 1), ''a'', a.v::text' WHEN after IS NULL THEN '''n'', array_length(b.v, 1), ''b'', b.v::text'
			ELSE '''n'', array_length(b.v, 1), ''b'', b.v::text, ''a'', CASE WHEN a.v <> b.v THEN a.v::text END' END,
		CASE WHEN before IS NULL THEN '(' || after || ') a' WHEN after IS NULL THEN '(' || before || ') b'
			ELSE '(' || before || ') b JOIN (SELECT n, v FROM (' || after || ') w) a USING (n)' END)
$insert$;

-- aside_capture_arguments are those of a trigger: pg_trigger.tgargs ends each with a zero byte.
CREATE FUNCTION aside_capture_arguments(args bytea) RETURNS text[] LANGUAGE plpgsql STABLE AS $arguments$
DECLARE
	list text[] := '{}';
	n    int;
BEGIN
	LOOP
		n := position('\x00'::bytea IN args);
		EXIT WHEN n = 0;
		list := list || convert_from(substring(args FROM 1 FOR n - 1), getdatabaseencoding());
		args := substring(args FROM n + 1);
	END LOOP;
	RETURN list;
END $arguments$;

-- aside_capture makes the function aside_capture_TABLE next to the table, and the triggers that call it; where there are some
-- it brings them up to date: call it again when columns or partitions have changed. What was captured before and is still
-- there stays, for it may be what another service needs. The triggers' arguments say what is captured, after the version of
-- what is written here; "aside capture -check" compares them.
--
-- The function's text is each table's own: a statement that is put together when it runs takes longer than the update of a
-- row. But a column that is dropped later must not make it fail, or every write to the table would. So columns stand in
-- it without a qualifier, in a query within one that has a column of that name and of type aside_absent:
--
--	SELECT x.v FROM (SELECT NULL::aside_absent AS sku) absent CROSS JOIN aside_new r
--	CROSS JOIN LATERAL (SELECT sku AS v FROM (SELECT r.*) s) x
--
-- SQL looks for sku in s and, if it is not there, around it; and plans are made anew when the table changes. To the planner it
-- is a scan of aside_new. Values are spelled as drivers get them, by the output function of the type. A cast to text does that
-- too, and faster than concat, but for types with a cast of their own: char(n), inet, boolean. Of a type that is not
-- PostgreSQL's a cast may come later, and its owner's function would run with the rights of ours.
CREATE FUNCTION aside_capture(name text, columns text[], subscriber boolean DEFAULT false) RETURNS void LANGUAGE plpgsql AS $capture$
DECLARE
	version CONSTANT text := '1';
	root    CONSTANT regclass := (SELECT t FROM aside_capture_tree(name) t LIMIT 1);
	home    CONSTANT regnamespace := (SELECT relnamespace FROM pg_class WHERE oid = 'aside_outbox'::regclass);
	part    regclass;
	c       text;
	full_name text;
	func    text;
	args    text;
	head    jsonb;
	hole    CONSTANT text := chr(1); -- where in the queries below their rows come from
	rows    text; -- v and gone of each row
	few     text; -- n, v and gone of 5,000 rows behind the first skip
	many    text; -- of 100,000, 5,000 a line: what is in memory at a time
	each    text; -- of one row
	t       record;
BEGIN
	IF root IN ('aside_outbox'::regclass, 'aside_consumers'::regclass) THEN
		RAISE wrong_object_type USING MESSAGE = 'aside: where captured rows go cannot be captured';
	END IF;
	IF coalesce(cardinality(columns), 0) = 0 THEN
		RAISE invalid_parameter_value USING MESSAGE = format('aside: %s: no columns to capture', root);
	END IF;
	FOREACH c IN ARRAY columns LOOP
		IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = root AND attname = c AND attnum > 0 AND NOT attisdropped) THEN
			RAISE undefined_column USING MESSAGE = format('aside: %s has no column %s', root, c);
		END IF;
	END LOOP;
	SELECT array_agg(u.a ORDER BY u.n) INTO columns FROM (
		SELECT a, min(n) AS n FROM unnest(columns || (SELECT (aside_capture_arguments(tgargs))[3:] FROM pg_trigger
			WHERE tgrelid = root AND tgname = 'aside_capture_update')) WITH ORDINALITY q (a, n)
		WHERE EXISTS (SELECT FROM pg_attribute WHERE attrelid = root AND attname = a AND attnum > 0 AND NOT attisdropped) GROUP BY a) u;

	SELECT n.nspname || '.' || o.relname, format('%I.%I', n.nspname,
			'aside_capture_' || CASE WHEN octet_length(o.relname) < 50 THEN o.relname::text ELSE md5(o.relname) END)
		INTO full_name, func FROM pg_class o JOIN pg_namespace n ON n.oid = o.relnamespace WHERE o.oid = root;
	head := jsonb_build_object('t', full_name, 'c', columns);
	SELECT format('SELECT x.v, x.gone FROM (SELECT %s) absent CROSS JOIN ' || hole || ' r CROSS JOIN LATERAL (SELECT ARRAY[%s] AS v, %s AS gone FROM (SELECT r.*) s) x',
			string_agg(format('NULL::aside_absent AS %s', i), ', ' ORDER BY n),
			string_agg(format(CASE WHEN casts THEN 'CASE WHEN %1$s IS NULL THEN NULL ELSE concat(%1$s) END' ELSE '%1$s::text' END, i), ', ' ORDER BY n),
			-- A number only where each server has the same.
			string_agg(format(CASE WHEN kind < 16384 THEN 'pg_typeof(%s) <> %s' ELSE 'pg_typeof(%s) = ''aside_absent''::regtype' END, i, kind), ' OR ' ORDER BY n)),
		string_agg(quote_literal(q.a), ', ' ORDER BY n)
		INTO rows, args
		FROM (SELECT u.a, quote_ident(u.a) AS i, u.n, y.oid::int8 AS kind,
				y.oid >= 16384 OR EXISTS (SELECT FROM pg_cast WHERE castsource = y.oid AND casttarget = 'text'::regtype AND castmethod = 'f') AS casts
			FROM unnest(columns) WITH ORDINALITY u (a, n)
			JOIN pg_attribute b ON b.attrelid = root AND b.attname = u.a AND NOT b.attisdropped JOIN pg_type y ON y.oid = b.atttypid) q;
	args := concat_ws(', ', quote_literal(version), quote_literal(full_name), args);
	few := 'SELECT 0 AS n, array_agg(y.v) AS v, bool_or(y.gone) AS gone FROM (' || replace(rows, hole, '(SELECT * FROM ' || hole || ' OFFSET aside_capture.skip LIMIT 5000)') || ') y HAVING count(*) > 0';
	many := 'SELECT (y.m - 1) / 5000 AS n, array_agg(y.v) AS v, bool_or(y.gone) AS gone FROM (SELECT z.*, row_number() OVER () AS m FROM ('
		|| replace(rows, hole, '(SELECT * FROM ' || hole || ' OFFSET aside_capture.skip LIMIT 100000)') || ') z) y GROUP BY 1';
	each := 'SELECT 0 AS n, ARRAY[y.v] AS v, y.gone FROM (' || rows || ') y';

	EXECUTE format('CREATE OR REPLACE FUNCTION %s() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, %s, pg_temp '
		'SET TimeZone = ''UTC'' SET DateStyle = ''ISO, YMD'' SET IntervalStyle = ''postgres'' SET extra_float_digits = 1 SET bytea_output = ''hex'' '
		'SET plan_cache_mode = ''force_generic_plan'' SET jit = off AS %L', -- its plans are made once a session, for one row or a million
		func, home, format($body$
#variable_conflict use_column
<<aside_capture>>
DECLARE
	n    int := 5000; -- rows that were there
	skip int := 0;
	line record;
	list text[] := '{}';
	why  text;
BEGIN
	IF TG_OP = 'UPDATE' AND TG_LEVEL = 'STATEMENT' THEN
		WHILE n = 5000 AND skip < 20000 LOOP
			%s RETURNING (changes #> '{0,n}')::int INTO n;
			skip := skip + 5000;
		END LOOP;
		WHILE n = 5000 LOOP -- to skip takes time, too
			%s;
			EXIT WHEN NOT FOUND;
			skip := skip + 100000;
		END LOOP;
	ELSIF TG_OP = 'INSERT' AND TG_LEVEL = 'STATEMENT' THEN
		WHILE n = 5000 AND skip < 20000 LOOP
			%s RETURNING (changes #> '{0,n}')::int INTO n;
			skip := skip + 5000;
		END LOOP;
		WHILE n = 5000 LOOP -- to skip takes time, too
			%s;
			EXIT WHEN NOT FOUND;
			skip := skip + 100000;
		END LOOP;
	ELSIF TG_OP = 'DELETE' AND TG_LEVEL = 'STATEMENT' THEN
		WHILE n = 5000 AND skip < 20000 LOOP
			%s RETURNING (changes #> '{0,n}')::int INTO n;
			skip := skip + 5000;
		END LOOP;
		WHILE n = 5000 LOOP -- to skip takes time, too
			%s;
			EXIT WHEN NOT FOUND;
			skip := skip + 100000;
		END LOOP;
	ELSIF TG_OP = 'TRUNCATE' THEN
		-- What hides rows from this query would leave their entries standing. And the table need not belong to the owner of
		-- this function. In either case whoever reads the row has to end all entries of the table.
		n := 0;
		BEGIN
			IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
				why := 'TRUNCATE under ' || current_setting('transaction_isolation') || ', whose snapshot may lack rows';
			END IF;
			IF row_security_active(TG_RELID) THEN -- nor is code of the policies to run with our rights
				RAISE insufficient_privilege USING MESSAGE = 'policies apply to the owner of the trigger''s function';
			END IF;
			FOR line IN EXECUTE replace(%L, chr(1), 'ONLY ' || TG_RELID::regclass) LOOP
				IF line.gone THEN
					why := 'a captured column is gone or has another type';
				END IF;
				n := n + 1;
				list := array_append(list, line.v::text);
				IF n = 5000 THEN
					INSERT INTO aside_outbox (changes) VALUES (jsonb_build_array(%L::jsonb || jsonb_build_object('n', n, 'b', '{' || array_to_string(list, ',') || '}')));
					n := 0;
					list := '{}';
				END IF;
			END LOOP;
		EXCEPTION WHEN OTHERS THEN
			why := 'TRUNCATE, rows not listed: ' || SQLERRM;
			n := 0;
			list := '{}';
		END;
		IF n > 0 OR why IS NOT NULL THEN
			INSERT INTO aside_outbox (changes) VALUES (jsonb_build_array(%L::jsonb || jsonb_build_object('n', n, 'b', '{' || array_to_string(list, ',') || '}')
				|| CASE WHEN why IS NULL THEN '{}' ELSE jsonb_build_object('stale', why) END));
		END IF;
	-- Rows as a subscriber applies them. The text is put together anew each time: a plan for a row of NEW does not hear of columns that go.
	ELSIF TG_OP = 'UPDATE' THEN
		EXECUTE %L USING OLD, NEW;
	ELSIF TG_OP = 'INSERT' THEN
		EXECUTE %L USING NEW;
	ELSE
		EXECUTE %L USING OLD;
	END IF;
	RETURN NULL;
END $body$,
			aside_capture_insert(head, 'U', replace(few, hole, 'aside_old'), replace(few, hole, 'aside_new')),
			aside_capture_insert(head, 'U', replace(many, hole, 'aside_old'), replace(many, hole, 'aside_new')),
			aside_capture_insert(head, 'I', NULL, replace(few, hole, 'aside_new')),
			aside_capture_insert(head, 'I', NULL, replace(many, hole, 'aside_new')),
			aside_capture_insert(head, 'D', replace(few, hole, 'aside_old'), NULL),
			aside_capture_insert(head, 'D', replace(many, hole, 'aside_old'), NULL),
			rows, head || '{"op": "T"}', head || '{"op": "T"}',
			aside_capture_insert(head, 'U', replace(each, hole, '(SELECT ($1).*)'), replace(each, hole, '(SELECT ($2).*)')),
			aside_capture_insert(head, 'I', NULL, replace(each, hole, '(SELECT ($1).*)')),
			aside_capture_insert(head, 'D', replace(each, hole, '(SELECT ($1).*)'), NULL)));
	EXECUTE format('REVOKE ALL ON FUNCTION %s() FROM PUBLIC', func); -- a trigger runs without; only its maker needs the right

	-- ENABLE ALWAYS: also in sessions whose session_replication_role is replica. A subscriber's worker fires no statement
	-- triggers but those of TRUNCATE.
	FOR part IN SELECT aside_capture_tree(name) LOOP
		FOR t IN VALUES
			('aside_capture_insert', 'AFTER INSERT', 'REFERENCING NEW TABLE AS aside_new FOR EACH STATEMENT', 'A', true),
			('aside_capture_update', 'AFTER UPDATE', 'REFERENCING OLD TABLE AS aside_old NEW TABLE AS aside_new FOR EACH STATEMENT', 'A', true),
			('aside_capture_delete', 'AFTER DELETE', 'REFERENCING OLD TABLE AS aside_old FOR EACH STATEMENT', 'A', true),
			('aside_capture_truncate', 'BEFORE TRUNCATE', 'FOR EACH STATEMENT', 'A', true),
			('aside_capture_row', 'AFTER INSERT OR UPDATE OR DELETE', 'FOR EACH ROW', 'R', subscriber)
		LOOP
			-- The clone of root's row trigger has gone with it.
			CONTINUE WHEN t.column4 = 'R' AND part <> root;
			IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = part AND tgname = t.column1) THEN
				-- CREATE and DROP TRIGGER wait for whoever uses the table: not without need.
				CONTINUE WHEN t.column5 AND EXISTS (SELECT FROM pg_trigger WHERE tgrelid = part AND tgname = t.column1 AND tgfoid = (func || '()')::regprocedure
					AND tgenabled = t.column4::"char" AND aside_capture_arguments(tgargs) = ARRAY[version, full_name] || columns);
				EXECUTE format('DROP TRIGGER %I ON %s', t.column1, part);
			END IF;
			CONTINUE WHEN NOT t.column5;
			EXECUTE format('CREATE TRIGGER %I %s ON %s %s EXECUTE FUNCTION %s(%s)', t.column1, t.column2, part, t.column3, func, args);
			EXECUTE format('ALTER TABLE %s%s ENABLE %s TRIGGER %I', CASE WHEN t.column4 = 'A' THEN 'ONLY ' END, part, CASE t.column4 WHEN 'A' THEN 'ALWAYS' ELSE 'REPLICA' END, t.column1);
		END LOOP;
	END LOOP;
	IF subscriber THEN -- older servers leave the clones as they were
		FOR part IN SELECT tgrelid::regclass FROM pg_trigger WHERE tgname = 'aside_capture_row' AND tgenabled <> 'R' AND tgrelid IN (SELECT aside_capture_tree(name)) LOOP
			EXECUTE format('ALTER TABLE %s ENABLE REPLICA TRIGGER aside_capture_row', part);
		END LOOP;
	END IF;
END $capture$;
COMMENT ON FUNCTION aside_capture(text, text[], boolean) IS 'Has every change of the table and its partitions written into aside_outbox; subscriber: also what logical replication applies';

-- aside_uncapture takes away what aside_capture made.
CREATE FUNCTION aside_uncapture(name text) RETURNS void LANGUAGE plpgsql AS $uncapture$
DECLARE
	t record;
	f regprocedure;
BEGIN
	FOR t IN SELECT g.tgname, p AS part, g.tgfoid FROM aside_capture_tree(name) WITH ORDINALITY u (p, n) JOIN pg_trigger g ON g.tgrelid = p
		WHERE g.tgname LIKE 'aside\_capture\_%' AND NOT g.tgisinternal AND coalesce(to_jsonb(g) ->> 'tgparentid', '0') = '0' ORDER BY u.n
	LOOP
		EXECUTE format('DROP TRIGGER %I ON %s', t.tgname, t.part);
		f := t.tgfoid;
	END LOOP;
	IF f IS NOT NULL THEN
		EXECUTE format('DROP FUNCTION %s', f);
	END IF;
END $uncapture$;
COMMENT ON FUNCTION aside_uncapture(text) IS 'Ends what aside_capture began';

-- aside_captured has deferred constraints and triggers do their work now, for some write, and returns what was captured in this
-- transaction. It is no SECURITY DEFINER and sets nothing: that work is done in its name, with its settings. It finds the
-- table by its schema, whatever the caller's search_path.
DO $do$
BEGIN
	EXECUTE format($captured$
CREATE FUNCTION aside_captured() RETURNS SETOF aside_outbox LANGUAGE plpgsql AS $$
BEGIN
	SET CONSTRAINTS ALL IMMEDIATE;
	RETURN QUERY SELECT * FROM %I.aside_outbox WHERE xid = pg_current_xact_id_if_assigned() AND tx IS NULL AND done_at IS NULL ORDER BY id;
END $$ $captured$, current_schema());
END $do$;
COMMENT ON FUNCTION aside_captured() IS 'What was captured in this transaction, deferred triggers included';
