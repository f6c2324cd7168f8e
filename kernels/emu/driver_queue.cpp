// Streams and events. A piece of work may run when it is the first of its stream, the event that it awaits
// is done, and the default stream's rule allows it; which of those that may is run next is what settings.when says.
#include "driver.h"

#include <algorithm>

namespace driver {

namespace {

uint64_t numbers;
Stream *preferred; // set: others run no more than this one needs

bool blocking(const Stream *s) { return !(s->flags & CU_STREAM_NON_BLOCKING); }

// may_run reports whether the first work of a stream may run now. Work of the default stream waits for all earlier work of
// blocking streams, and theirs for its earlier one.
bool may_run(Context *c, Stream *s)
{
	if (s->queue.empty())
		return false;
	const Entry &first = s->queue.front();
	if (first.awaited && first.awaited->done < first.record)
		return false;
	auto earlier = [&](const Stream *other) { return !other->queue.empty() && other->queue.front().number < first.number; };
	if (s != c->null)
		return !blocking(s) || !earlier(c->null);
	return std::none_of(c->streams.begin(), c->streams.end(), [&](Stream *o) { return blocking(o) && earlier(o); });
}

CUresult add_stream(CUstream *out, unsigned flags)
{
	Stream *s = new Stream();
	s->flags = flags;
	context->streams.push_back(s);
	*out = (CUstream)s;
	return CUDA_SUCCESS;
}

} // namespace

bool step(Context *c)
{
	std::vector<Stream *> able;
	if (may_run(c, c->null))
		able.push_back(c->null);
	for (Stream *s : c->streams)
		if (may_run(c, s))
			able.push_back(s);
	if (able.empty())
		return false;
	Stream *s;
	if (preferred && may_run(c, preferred))
		s = preferred;
	else if (settings.when == When::random)
		s = able[below((unsigned)able.size())];
	else
		s = *std::min_element(able.begin(), able.end(),
			[](Stream *a, Stream *b) { return a->queue.front().number < b->queue.front().number; });
	Entry e = std::move(s->queue.front());
	s->queue.pop_front();
	const char *was = call_name;
	call_name = e.call;
	CUresult r = e.work ? e.work() : CUDA_SUCCESS;
	call_name = was;
	if (r) { // the context is lost, with all that was queued
		c->sticky = r;
		c->null->queue.clear();
		for (Stream *t : c->streams)
			t->queue.clear();
	}
	return true;
}

CUresult enqueue(Stream *s, Work work, Event *awaited, uint64_t record, What what)
{
	if (Graph *g = s->capture) {
		if (g->spoilt)
			return refuse(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "an earlier call spoilt this capture");
		g->nodes.push_back({std::move(work), s->behind, call_name, what});
		s->behind = {(int)g->nodes.size() - 1};
		return CUDA_SUCCESS;
	}
	if (s == context->null)
		for (Stream *t : context->streams)
			if (t->capture && blocking(t)) {
				t->capture->spoilt = true;
				return refuse(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, "the default stream is used while a blocking stream captures");
			}
	s->queue.push_back({std::move(work), awaited, record, ++numbers, call_name});
	if (settings.when == When::eager)
		while (step(context)) {
		}
	else if (settings.when == When::random)
		for (unsigned n = below(4) / 2; n; n--)
			step(context);
	while (s->queue.size() > 1000 && step(context)) { // a bound on memory
	}
	return context->sticky;
}

CUresult forbid_in_capture()
{
	for (Stream *s : context->streams)
		if (s->capture && s->capture->strict) {
			s->capture->spoilt = true;
			return refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "not allowed while stream %p captures", (void *)s);
		}
	return CUDA_SUCCESS;
}

CUresult finish(Stream *s)
{
	if (s->capture) {
		s->capture->spoilt = true;
		return refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "stream %p is capturing", (void *)s);
	}
	preferred = settings.when == When::random && below(2) ? s : nullptr;
	while (!s->queue.empty() && step(context)) {
	}
	preferred = nullptr;
	return context->sticky;
}

CUresult finish_all()
{
	if (CUresult r = forbid_in_capture())
		return r;
	while (step(context)) {
	}
	return context->sticky;
}

} // namespace driver

using namespace driver;

// --- streams

EXPORT cuStreamCreate(CUstream *out, unsigned flags)
{
	CALL;
	return add_stream(out, flags);
}

EXPORT cuStreamCreateWithPriority(CUstream *out, unsigned flags, int)
{
	CALL;
	return add_stream(out, flags);
}

EXPORT cuStreamDestroy(CUstream h)
{
	CALL;
	GET(Stream, s, h, stream);
	CUresult r = finish(s);
	s->alive = false;
	context->streams.erase(std::find(context->streams.begin(), context->streams.end(), s));
	return r;
}

EXPORT cuStreamGetFlags(CUstream h, unsigned *flags)
{
	CALL;
	GET_STREAM(s, h);
	*flags = s->flags;
	return CUDA_SUCCESS;
}

EXPORT cuStreamGetPriority(CUstream h, int *priority)
{
	CALL;
	GET_STREAM(s, h);
	*priority = 0;
	return CUDA_SUCCESS;
}

EXPORT cuStreamSynchronize(CUstream h)
{
	CALL;
	GET_STREAM(s, h);
	return finish(s);
}

EXPORT cuStreamQuery(CUstream h)
{
	CALL;
	GET_STREAM(s, h);
	if (s->capture)
		return finish(s);
	if (!s->queue.empty())
		step(context); // time goes by
	return context->sticky ? context->sticky : s->queue.empty() ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

EXPORT cuStreamWaitEvent(CUstream h, CUevent eh, unsigned)
{
	CALL;
	GET_STREAM(s, h);
	GET(Event, e, eh, event);
	if (Graph *g = e->capture) {
		if (!g->open || (s->capture && s->capture != g))
			return refuse(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, "the event was recorded in another capture");
		if (!s->capture) { // the stream joins the capture
			s->capture = g;
			s->behind.clear();
			g->streams.push_back(s);
		}
		s->behind.insert(s->behind.end(), e->behind.begin(), e->behind.end());
		return CUDA_SUCCESS;
	}
	if (s->capture) {
		s->capture->spoilt = true;
		return refuse(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, "a capturing stream waits for an event recorded outside the capture");
	}
	return enqueue(s, nullptr, e, e->recorded);
}

// --- events

EXPORT cuEventCreate(CUevent *out, unsigned flags)
{
	CALL;
	Event *e = new Event();
	e->flags = flags;
	*out = (CUevent)e;
	return CUDA_SUCCESS;
}

EXPORT cuEventDestroy(CUevent h)
{
	CALL;
	GET(Event, e, h, event);
	e->alive = false;
	return CUDA_SUCCESS;
}

EXPORT cuEventRecord(CUevent h, CUstream sh)
{
	CALL;
	GET(Event, e, h, event);
	GET_STREAM(s, sh);
	if (s->capture) {
		e->capture = s->capture;
		e->behind = s->behind;
		return CUDA_SUCCESS;
	}
	e->capture = nullptr;
	uint64_t record = ++e->recorded;
	return enqueue(s, [=] {
		e->done = record;
		e->time = milliseconds();
		return CUDA_SUCCESS;
	});
}

EXPORT cuEventQuery(CUevent h)
{
	CALL;
	GET(Event, e, h, event);
	if (e->capture)
		return refuse(CUDA_ERROR_CAPTURED_EVENT, "the event was recorded in a capture");
	if (e->done < e->recorded)
		step(context);
	return context->sticky ? context->sticky : e->done < e->recorded ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
}

EXPORT cuEventSynchronize(CUevent h)
{
	CALL;
	GET(Event, e, h, event);
	if (e->capture)
		return refuse(CUDA_ERROR_CAPTURED_EVENT, "the event was recorded in a capture");
	while (e->done < e->recorded && step(context)) {
	}
	return context->sticky;
}

EXPORT cuEventElapsedTime(float *ms, CUevent ah, CUevent bh)
{
	CALL;
	GET(Event, a, ah, event);
	GET(Event, b, bh, event);
	if (!a->recorded || !b->recorded || ((a->flags | b->flags) & CU_EVENT_DISABLE_TIMING))
		return refuse(CUDA_ERROR_INVALID_HANDLE, "an event that was never recorded, or without timing");
	if (a->done < a->recorded || b->done < b->recorded)
		return CUDA_ERROR_NOT_READY;
	*ms = (float)(b->time - a->time);
	return CUDA_SUCCESS;
}
