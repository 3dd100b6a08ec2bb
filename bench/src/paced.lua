-- Called by wrk before each request: for how many milliseconds it is put off. By chance, so that connections don't
-- send in step.
function delay()
   return math.random(0, 8)
end
