-- Only the clock. ARGV: clock. Answers {clock}.
return {now}
