package main

import (
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"time"
)

// What is still read of a request that was answered, at most.
const (
	lingering = 64 << 20 // bytes
	patience  = 5 * time.Second
)

// Only what comes from inside is believed about whom it was forwarded for.
func proxy(routes *atomic.Pointer[table], inside bool) http.Handler {
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		MaxIdleConnsPerHost: 64,
		IdleConnTimeout:     30 * time.Second,
		DisableCompression:  true, // bodies pass as they are
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		found := routes.Load().find(r)
		if found == nil || len(found.splits) == 0 {
			http.Error(w, "no route for "+r.Host+r.URL.Path, http.StatusNotFound)
			return
		}
		// Otherwise an answer that comes before the last read of the request's body cuts the connection it comes by.
		_ = http.NewResponseController(w).EnableFullDuplex()
		target := found.choose()
		reverse := httputil.ReverseProxy{Transport: transport, FlushInterval: -1, Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(&url.URL{Scheme: "http", Host: target.address})
			p.Out.Host = r.Host
			if found.host != "" {
				p.Out.Host = found.host
			}
			if inside {
				p.Out.Header["X-Forwarded-For"] = p.In.Header["X-Forwarded-For"]
			}
			p.SetXForwarded()
			for _, headers := range []map[string]string{found.headers, target.headers} {
				for name, value := range headers {
					p.Out.Header.Set(name, value)
				}
			}
		}}
		body := r.Body
		r.Body = unclosed{body}
		reverse.ServeHTTP(w, r)
		// Who is answered before all of its request was read still sends: a connection that is closed under it is
		// reset, and the answer with it.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(patience))
		_, _ = io.CopyN(io.Discard, body, lingering)
	})
}

// Closing the body of a request ends the reading of it.
type unclosed struct{ io.Reader }

func (unclosed) Close() error { return nil }

func (r *route) choose() split {
	point := rand.IntN(100)
	for _, one := range r.splits {
		if point -= one.percent; point < 0 {
			return one
		}
	}
	return r.splits[len(r.splits)-1]
}
