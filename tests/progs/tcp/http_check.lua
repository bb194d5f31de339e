-- SPDX-License-Identifier: MIT
-- For wrk: every answer is the same as the first one, which is as long as the environment's
-- BODY_LENGTH says. Prints "answers N wrong N".
local threads = {}
local length = tonumber(os.getenv("BODY_LENGTH"))

function setup(thread)
	table.insert(threads, thread)
end

function init()
	answers, wrong, first = 0, 0, nil
end

function response(status, headers, body)
	answers = answers + 1
	first = first or body
	if status ~= 200 or #body ~= length or body ~= first then
		wrong = wrong + 1
	end
end

function done(summary)
	local answers, wrong = 0, 0
	for _, thread in ipairs(threads) do
		answers = answers + thread:get("answers")
		wrong = wrong + thread:get("wrong")
	end
	local e = summary.errors
	io.write(string.format("connect %d read %d write %d status %d timeout %d\n", e.connect,
		e.read, e.write, e.status, e.timeout))
	io.write(string.format("answers %d wrong %d errors %d bytes %d\n", answers, wrong,
		e.connect + e.read + e.write + e.status + e.timeout, summary.bytes))
end
