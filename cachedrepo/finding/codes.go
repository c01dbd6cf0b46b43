package finding

// Code is a kind of finding, as documented in docs/check.md. Names are stable: people write them in Allow.
type Code struct {
	Name     string
	Severity Severity // the worst that it is reported with
}

// Codes of findings about the tables of a database.
const (
	KeyEquality   = "key-equality"
	CanonicalKey  = "canonical"
	MissingTable  = "missing-table"
	MissingColumn = "missing-column"
	NullColumn    = "null"
	WrittenColumn = "generated"
	SessionText   = "session-text"
	Relkind       = "relkind"
	Persistence   = "persistence"
	RowSecurity   = "rls"
	AmbiguousName = "ambiguous-name"
	NotUnique     = "not-unique"
	NoIndex       = "no-index"
	Cascade       = "cascade"
	Trigger       = "trigger"
	TriggerOther  = "trigger-other"

	NotCaptured      = "not-captured"
	CapturePartition = "capture-partition"
	CaptureDisabled  = "capture-disabled"
	CaptureStale     = "capture-stale"
)

// Codes of findings about the database as a whole.
const (
	Server      = "server"
	Recovery    = "recovery"
	Replica     = "replica"
	LockTimeout = "lock-timeout"
	Isolation   = "isolation"
)

// Codes of findings about Redis.
const (
	RedisUnreachable = "redis-unreachable"
	RedisClient      = "redis-client"
	RedisVersion     = "redis-version"
	RedisRole        = "redis-role"
	RedisPolicy      = "redis-policy"
	RedisWrites      = "redis-writes"
	RedisClock       = "redis-clock"
	StrictEviction   = "strict-eviction"
	ReplicaEviction  = "replica-eviction"
)

// Codes lists all kinds of finding, in the order in which docs/check.md explains them.
var Codes = []Code{
	{KeyEquality, Refuse},
	{CanonicalKey, Refuse},
	{NotUnique, Refuse},
	{RowSecurity, Refuse},
	{AmbiguousName, Refuse},
	{MissingTable, Refuse},
	{MissingColumn, Refuse},
	{WrittenColumn, Refuse},
	{NullColumn, Warn},
	{SessionText, Warn},
	{Relkind, Refuse},
	{Persistence, Refuse},
	{Cascade, Refuse},
	{Trigger, Warn},
	{TriggerOther, Warn},
	{CaptureStale, Warn},
	{CapturePartition, Warn},
	{CaptureDisabled, Warn},
	{NotCaptured, Warn},
	{NoIndex, Note},
	{Server, Refuse},
	{Recovery, Refuse},
	{Replica, Warn},
	{LockTimeout, Note},
	{Isolation, Note},
	{RedisClient, Refuse},
	{RedisRole, Refuse},
	{StrictEviction, Refuse},
	{ReplicaEviction, Refuse},
	{RedisVersion, Warn},
	{RedisWrites, Warn},
	{RedisPolicy, Warn},
	{RedisClock, Warn},
	{RedisUnreachable, Warn},
}
