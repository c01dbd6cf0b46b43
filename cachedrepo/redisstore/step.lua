-- store.Step in Lua: the same transitions, deadlines and nonces, bit for bit, on the server's own clock. A test drives
-- both through random histories and compares them. Change them together, and read the arguments over there.
--
-- KEYS[i] is the key of operation i. ARGV[1] is 'p' where tokens must be kept without a Redis expiry (the eviction policy
-- would take them first), else '-'; after it, four arguments an operation: kind, token, value, ttl in milliseconds.
--
-- Answers one string an operation: the state and the flags as two digits, then the lease, the nonce or the value.

local ABSENT, VALUE, LEASE, INTENT, GENERATION, FOREIGN = 0, 1, 2, 3, 4, 5
local GET, ACQUIRE, OVER, FILL, ABANDON, INTEND, RELEASE, INVALIDATE = 0, 1, 2, 3, 4, 5, 6, 7
local STAMPS, BUMP, ENTER, LEAVE = 16, 17, 18, 19
local LOST, REFUSED, HELD = 1, 2, 4

local NOBODY = string.rep('\0', 16)
local HOUR = 3600000

-- The operations of a script count as a microsecond apart. Newer servers stop the clock for the time of a script, and two
-- operations at the same moment could make the same nonce.
local clock = redis.call('TIME')
local begin = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local micros, now -- of the operation that runs; now is in milliseconds
local persist = ARGV[1] == 'p'

local function integer(n) return string.format('%.0f', n) end

local function deadline_of(s, at)
  local n = 0
  for i = at, at + 7 do n = n * 256 + s:byte(i) end
  return n
end

local function deadline_bytes(n)
  local b = {}
  for i = 8, 1, -1 do
    local low = n % 256
    b[i] = string.char(low)
    n = (n - low) / 256
  end
  return table.concat(b)
end

-- The writers from position at on, without those past their deadline.
local function writers(s, at)
  local ws = {}
  for i = at, #s, 24 do
    local d = deadline_of(s, i + 16)
    if d > now then ws[#ws + 1] = { s:sub(i, i + 15), d } end
  end
  return ws
end

-- What bytes mean. Anything that this version did not write is FOREIGN: a neighbour's key, a hash, a later format.
local function parse(raw)
  if not raw then return { state = ABSENT } end
  if type(raw) == 'string' then
    local head, n = raw:sub(1, 2), #raw
    if head == 'V1' then return { state = VALUE, value = raw:sub(3) } end
    if head == 'L1' and n == 18 then return { state = LEASE, token = raw:sub(3) } end
    if head == 'I1' and n > 2 and (n - 2) % 24 == 0 then
      local ws = writers(raw, 3)
      if #ws == 0 then return { state = ABSENT } end
      return { state = INTENT, writers = ws }
    end
    if head == 'G1' and n >= 18 and (n - 18) % 24 == 0 then
      return { state = GENERATION, token = raw:sub(3, 18), writers = writers(raw, 19) }
    end
  end
  return { state = FOREIGN }
end

local function bytes_of(e)
  if e.state == VALUE then return 'V1' .. e.value end
  if e.state == LEASE then return 'L1' .. e.token end
  local b = { e.state == INTENT and 'I1' or 'G1' .. e.token }
  for _, w in ipairs(e.writers) do b[#b + 1] = w[1] .. deadline_bytes(w[2]) end
  return table.concat(b)
end

local function last_deadline(ws)
  local last = 0
  for _, w in ipairs(ws) do last = math.max(last, w[2]) end
  return last
end

-- Byte by byte: '<' on strings follows the server's locale.
local function before(a, b)
  for i = 1, #a do
    local x, y = a:byte(i), b:byte(i)
    if x ~= y then return x < y end
  end
  return false
end

local function with(ws, token, deadline)
  local at = #ws + 1
  for i, w in ipairs(ws) do
    if w[1] == token then
      w[2] = math.max(w[2], deadline)
      return ws
    end
    if at > #ws and before(token, w[1]) then at = i end
  end
  table.insert(ws, at, { token, deadline })
  return ws
end

-- Removes the token; false if it was not there.
local function without(ws, token)
  for i, w in ipairs(ws) do
    if w[1] == token then
      table.remove(ws, i)
      return true
    end
  end
  return false
end

local function nonce(salt, old)
  local hex = redis.sha1hex(salt .. old .. integer(math.floor(micros / 1000000)) .. '.' .. integer(micros % 1000000))
  local b = {}
  for i = 1, 31, 2 do b[#b + 1] = string.char(tonumber(hex:sub(i, i + 1), 16)) end
  return table.concat(b)
end

local function finish(e, salt)
  if #e.writers == 0 then return { state = ABSENT } end
  e.token = nonce(salt, e.token)
  return e
end

local function step_entry(e, kind, token, value, expires)
  if e.state == GENERATION then
    return e, (kind == RELEASE and LOST or 0) + (kind == FILL and REFUSED or 0)
  end
  -- A foreign value is a value with no bytes that anybody could use.
  if e.state == FOREIGN then e = { state = VALUE, value = '', foreign = true } end

  if kind == ACQUIRE then
    if e.state == ABSENT then e = { state = LEASE, token = token, expires = expires } end

  elseif kind == OVER then
    if e.state == ABSENT or (e.state == VALUE and e.value == value) then
      e = { state = LEASE, token = token, expires = expires }
    end

  elseif kind == FILL then
    if e.state == LEASE and e.token == token then
      e = { state = VALUE, value = value, expires = expires }
    elseif e.foreign or e.state ~= VALUE or e.value ~= value then
      return e, REFUSED
    end

  elseif kind == ABANDON then
    if e.state == LEASE and e.token == token then e = { state = ABSENT } end

  elseif kind == INTEND then
    e = { state = INTENT, writers = with(e.writers or {}, token, expires) }

  elseif kind == RELEASE then
    if e.state ~= INTENT then return { state = ABSENT }, LOST end
    local found = without(e.writers, token)
    if #e.writers == 0 then e = { state = ABSENT } end
    return e, found and 0 or LOST

  elseif kind == INVALIDATE then
    if e.state ~= INTENT then e = { state = ABSENT } end
  end
  return e, 0
end

local function step_generation(e, kind, token, expires)
  if e.state == FOREIGN then e = { state = ABSENT } end
  if e.state ~= ABSENT and e.state ~= GENERATION then return e, kind == LEAVE and LOST or 0 end

  if kind == STAMPS then
    if e.state == ABSENT then e = { state = GENERATION, token = nonce(token, NOBODY), writers = {} } end
    e.expires = math.max(e.expires or 0, expires)

  elseif kind == BUMP then
    if e.state == GENERATION then e = finish(e, token) end

  elseif kind == ENTER then
    e = { state = GENERATION, token = nonce(token, e.token or NOBODY),
          writers = with(e.writers or {}, token, expires), expires = math.max(e.expires or 0, expires) }

  elseif kind == LEAVE then
    if e.state == ABSENT then return e, LOST end
    if not without(e.writers, token) then return finish(e, token), LOST end
  end
  return e, 0
end

-- Puts e where raw was. What has not changed is not written: a hit must not cost the replicas a write.
local function write(key, raw, e, had)
  if e.state == ABSENT then
    if raw then redis.call('DEL', key) end
    return
  end
  if e.foreign then return end
  local b = bytes_of(e)
  local expires = e.expires
  if e.state == INTENT then expires = last_deadline(e.writers) end
  if e.state == GENERATION then
    expires = math.max(expires or 0, last_deadline(e.writers))
    -- Its last writer has left, it had no expiry meanwhile, and has forgotten how long it was to live. Any time will do: a
    -- generation that goes early costs its lists, nothing else.
    if expires <= now then expires = now + HOUR end
  end
  if persist and e.writers and #e.writers > 0 then
    if b ~= raw or had ~= -1 then redis.call('SET', key, b) end
  elseif b ~= raw or had == -1 or (e.state == GENERATION and expires > had) then
    redis.call('SET', key, b, 'PXAT', integer(expires))
  end
end

local replies = {}
for i, key in ipairs(KEYS) do
  micros = begin + i - 1
  now = math.floor(micros / 1000)
  local at = 4 * i - 2
  local kind, token, value = tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2]
  local expires = now + tonumber(ARGV[at + 3])

  local raw = redis.pcall('GET', key) -- an error: the key is no string
  local e, had, flags = parse(raw), nil, 0
  if e.state == GENERATION or e.writers then
    local pttl = redis.call('PTTL', key)
    had = pttl < 0 and -1 or now + pttl
    if e.state == GENERATION then
      -- At its last moment, or kept without an expiry by tokens that are all over by now.
      local over = had <= now
      if had == -1 then over = #e.writers == 0 end
      e.expires = had
      if over then e = { state = ABSENT } end
    end
  end

  if kind >= STAMPS then
    e, flags = step_generation(e, kind, token, expires)
  else
    e, flags = step_entry(e, kind, token, value, expires)
  end
  write(key, raw, e, had)

  local payload = ''
  if e.state == VALUE and kind <= OVER then payload = e.value end
  if e.state == LEASE or e.state == GENERATION then payload = e.token end
  if e.state == GENERATION and #e.writers > 0 then flags = flags + HELD end
  replies[i] = e.state .. '' .. flags .. payload
end
return replies
