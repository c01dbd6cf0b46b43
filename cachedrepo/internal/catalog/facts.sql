SELECT json_build_object(
	'version', current_setting('server_version_num')::int,
	'about', version(),
	'recovery', pg_is_in_recovery(),
	'database', current_database(),
	'role', current_user,
	'settings', json_build_object(
		'lock_timeout', current_setting('lock_timeout'),
		'isolation', current_setting('default_transaction_isolation')),
	'tables', (SELECT json_agg(json_build_object(
		'name', w.name,
		'schema', n.nspname,
		'relation', c.relname,
		'kind', c.relkind,
		'persistence', c.relpersistence,
		'row_security', c.relrowsecurity,
		'active', CASE WHEN c.relrowsecurity THEN row_security_active(c.oid) ELSE false END,
		'children', (SELECT json_agg(h.inhrelid::regclass::text ORDER BY 1)
			FROM pg_inherits h WHERE h.inhparent = c.oid AND c.relkind = 'r'),
		'parents', (SELECT json_agg(h.inhparent::regclass::text ORDER BY 1)
			FROM pg_inherits h WHERE h.inhrelid = c.oid),
		'namesakes', (SELECT json_agg(json_build_object('schema', s.nspname, 'temp', r.relpersistence = 't') ORDER BY s.nspname)
			FROM pg_class r JOIN pg_namespace s ON s.oid = r.relnamespace
			WHERE r.relname = w.relation AND r.oid IS DISTINCT FROM c.oid AND r.relkind IN ('r', 'p', 'v', 'm', 'f')
				AND s.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')),
		'columns', (SELECT json_agg(json_build_object(
				'name', a.attname,
				'type', format_type(a.atttypid, a.atttypmod),
				'base', base.typname,
				'base_schema', bs.nspname,
				'kind', base.typtype,
				'not_null', a.attnotnull OR base.typnotnull,
				'identity', a.attidentity,
				'generated', to_jsonb(a) ->> 'attgenerated',
				'collation', co.collname,
				'folds', to_jsonb(co) ->> 'collisdeterministic' = 'false') ORDER BY a.attnum)
			FROM pg_attribute a
			CROSS JOIN LATERAL (
				WITH RECURSIVE d AS (
					SELECT t.typname, t.typtype, t.typnamespace, t.typbasetype, t.typnotnull
					FROM pg_type t WHERE t.oid = a.atttypid
					UNION ALL
					SELECT t.typname, t.typtype, t.typnamespace, t.typbasetype, t.typnotnull OR d.typnotnull
					FROM d JOIN pg_type t ON t.oid = d.typbasetype
					WHERE d.typtype = 'd')
				SELECT d.* FROM d WHERE d.typtype <> 'd') base
			JOIN pg_namespace bs ON bs.oid = base.typnamespace
			LEFT JOIN pg_collation co ON co.oid = a.attcollation
			WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
		'indexes', (SELECT json_agg(json_build_object(
				'name', ic.relname,
				'unique', i.indisunique,
				'valid', i.indisvalid,
				'ready', i.indisready,
				'immediate', i.indimmediate,
				'expressions', i.indexprs IS NOT NULL,
				'predicate', pg_get_expr(i.indpred, i.indrelid, true),
				'columns', (SELECT json_agg(a.attname ORDER BY k.n)
					FROM unnest(i.indkey::int2[]) WITH ORDINALITY k (attnum, n)
					LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND k.attnum > 0
					WHERE k.n <= i.indnkeyatts)) ORDER BY ic.relname)
			FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid
			WHERE i.indrelid = c.oid),
		'triggers', (SELECT json_agg(json_build_object(
				'name', t.tgname,
				'type', t.tgtype,
				'function', p.proname,
				'writes', CASE WHEN l.lanname IN ('plpgsql', 'sql')
					THEN p.prosrc ~* '[[:<:]](insert|update|delete|merge|truncate|execute|perform|call)[[:>:]]'
					ELSE p.proname NOT IN ('moddatetime', 'insert_username', 'autoinc', 'tsvector_update_trigger',
						'tsvector_update_trigger_column', 'suppress_redundant_updates_trigger') END,
				'nulls', p.prosrc ~* '[[:<:]]return[[:space:]]+null[[:>:]]' OR p.proname = 'suppress_redundant_updates_trigger')
				ORDER BY t.tgname)
			FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_language l ON l.oid = p.prolang
			WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
				AND NOT (t.tgname ~ '^aside_capture_' AND p.proname ~ '^aside_capture_')
				AND coalesce(to_jsonb(t) ->> 'tgparentid', '0') = '0'),
		'others', (SELECT json_agg(json_build_object(
				'name', t.tgname,
				'table', t.tgrelid::regclass::text,
				'type', t.tgtype,
				'function', p.proname) ORDER BY t.tgrelid::regclass::text, t.tgname)
			FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
			WHERE t.tgrelid <> c.oid AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
				AND NOT (t.tgname ~ '^aside_capture_' AND p.proname ~ '^aside_capture_')
				AND coalesce(to_jsonb(t) ->> 'tgparentid', '0') = '0'
				AND p.prosrc ~* ('[[:<:]]' || replace(c.relname, '$', '[$]') || '[[:>:]]')
				AND p.prosrc ~* '[[:<:]](insert|update|delete|merge|truncate|copy|execute)[[:>:]]'),
		'captures', (SELECT json_agg(json_build_object(
				'table', q.relid::regclass::text,
				'triggers', (SELECT json_agg(json_build_object('name', t.tgname, 'enabled', t.tgenabled, 'arguments', encode(t.tgargs, 'hex')) ORDER BY t.tgname)
					FROM pg_trigger t WHERE t.tgrelid = q.relid AND t.tgname ~ '^aside_capture_'
						AND coalesce(to_jsonb(t) ->> 'tgparentid', '0') = '0')) ORDER BY q.level, q.relid::regclass::text)
			FROM (SELECT c.oid AS relid, 0 AS level WHERE c.relkind IN ('r', 'p')
				UNION ALL SELECT p.relid, p.level FROM pg_partition_tree(c.oid) p WHERE p.relid <> c.oid) q),
		'actions', (SELECT json_agg(json_build_object(
				'name', k.conname,
				'references', k.confrelid::regclass::text,
				'delete', k.confdeltype,
				'update', k.confupdtype,
				'columns', (SELECT json_agg(a.attname ORDER BY a.attnum)
					FROM pg_attribute a WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey))) ORDER BY k.conname)
			FROM pg_constraint k
			WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.conparentid = 0
				AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd'))),
		'rules', (SELECT json_agg(r.rulename ORDER BY r.rulename)
			FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type <> '1' AND r.ev_enabled IN ('O', 'A'))
		) ORDER BY w.n)
		FROM (SELECT e.n, e.value ->> 'name' AS name, e.value ->> 'schema' AS schema, e.value ->> 'relation' AS relation
			FROM json_array_elements($1::text::json) WITH ORDINALITY e (value, n)) w
		LEFT JOIN pg_class c ON c.oid = CASE WHEN w.schema IS NULL THEN to_regclass(quote_ident(w.relation))::oid
			ELSE (SELECT r.oid FROM pg_class r JOIN pg_namespace s ON s.oid = r.relnamespace
				WHERE s.nspname = w.schema AND r.relname = w.relation) END
		LEFT JOIN pg_namespace n ON n.oid = c.relnamespace)
)::text
