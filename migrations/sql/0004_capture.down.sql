-- Tables that are still captured would fail to be written to once aside_outbox is gone.
DO $$
DECLARE
	t regclass;
BEGIN
	FOR t IN SELECT DISTINCT tgrelid::regclass FROM pg_trigger WHERE tgname LIKE 'aside\_capture\_%' AND NOT tgisinternal LOOP
		RAISE dependent_objects_still_exist USING MESSAGE = format('aside: %s is still captured', t), HINT = 'SELECT aside_uncapture(its name)';
	END LOOP;
END $$;
DROP FUNCTION aside_captured(), aside_capture(text, text[], boolean), aside_uncapture(text), aside_capture_tree(text), aside_capture_insert(jsonb, text, text, text), aside_capture_arguments(bytea);
DROP DOMAIN aside_absent;
ALTER TABLE aside_outbox ALTER changes SET STORAGE EXTENDED;
