package main

import (
	"cmp"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"knative.dev/networking/pkg/apis/networking/v1alpha1"
)

// A route is tried before those of less weight.
type route struct {
	matches func(*http.Request) bool
	weight  int
	host    string // what the backend sees as Host; "" is what the client said
	headers map[string]string
	splits  []split
}

type split struct {
	address string
	percent int
	headers map[string]string
}

// Host to routes, heaviest first; "" is any host.
type table map[string][]route

func (t table) find(r *http.Request) *route {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	for _, routes := range [][]route{t[host], t[""]} {
		for i := range routes {
			if routes[i].matches(r) {
				return &routes[i]
			}
		}
	}
	return nil
}

func (t table) sort() {
	for _, routes := range t {
		slices.SortStableFunc(routes, func(a, b route) int { return cmp.Compare(b.weight, a.weight) })
	}
}

func (t table) addRule(rule v1alpha1.IngressRule) {
	if rule.HTTP == nil {
		return
	}
	for _, path := range rule.HTTP.Paths {
		one := route{
			weight:  len(path.Path)*1000 + len(path.Headers),
			headers: path.AppendHeaders,
			host:    path.RewriteHost,
			matches: func(r *http.Request) bool {
				for name, match := range path.Headers {
					if r.Header.Get(name) != match.Exact {
						return false
					}
				}
				return strings.HasPrefix(r.URL.EscapedPath(), path.Path)
			},
		}
		for _, backend := range path.Splits {
			one.splits = append(one.splits, split{
				address(backend.ServiceName, backend.ServiceNamespace, backend.ServicePort.String()),
				backend.Percent, backend.AppendHeaders,
			})
		}
		for _, host := range rule.Hosts {
			t[host] = append(t[host], one)
		}
	}
}

func (t table) addRoute(of *gatewayv1.HTTPRoute) {
	hosts := of.Spec.Hostnames
	if len(hosts) == 0 {
		hosts = []gatewayv1.Hostname{""}
	}
	for _, rule := range of.Spec.Rules {
		one := route{splits: backends(rule.BackendRefs, of.Namespace)}
		for _, filter := range rule.Filters {
			if filter.URLRewrite != nil && filter.URLRewrite.Hostname != nil {
				one.host = string(*filter.URLRewrite.Hostname)
			}
		}
		for _, match := range rule.Matches {
			one.matches, one.weight = matcher(match)
			for _, host := range hosts {
				t[string(host)] = append(t[string(host)], one)
			}
		}
	}
}

func backends(references []gatewayv1.HTTPBackendRef, namespace string) []split {
	var splits []split
	total := 0
	weight := func(one gatewayv1.HTTPBackendRef) int {
		if one.Weight == nil {
			return 1
		}
		return int(*one.Weight)
	}
	for _, one := range references {
		total += weight(one)
	}
	for _, one := range references {
		if one.Namespace != nil {
			namespace = string(*one.Namespace)
		}
		port := 80
		if one.Port != nil {
			port = int(*one.Port)
		}
		splits = append(splits, split{
			address: address(string(one.Name), namespace, strconv.Itoa(port)), percent: 100 * weight(one) / max(total, 1),
		})
	}
	return splits
}

// Without the last dot each of a pod's search domains is asked for the name first.
func address(service, namespace, port string) string {
	return net.JoinHostPort(service+"."+namespace+".svc.cluster.local.", port)
}

// Paths are matched as they were sent: a slash that is escaped does not divide one.
//
// What the specification says of precedence: exact paths, then longer ones, then methods, then headers. Regular
// expressions, whose place it leaves open, come before prefixes.
func matcher(match gatewayv1.HTTPRouteMatch) (func(*http.Request) bool, int) {
	kind, value := gatewayv1.PathMatchPathPrefix, "/"
	if match.Path != nil {
		kind, value = *match.Path.Type, *match.Path.Value
	}
	var path func(string) bool
	weight := len(value) * 1000
	switch kind {
	case gatewayv1.PathMatchExact:
		weight += 2_000_000
		path = func(given string) bool { return given == value }
	case gatewayv1.PathMatchRegularExpression:
		weight += 1_000_000
		pattern, err := regexp.Compile("^(?:" + value + ")$")
		path = func(given string) bool { return err == nil && pattern.MatchString(given) }
	default:
		prefix := strings.TrimSuffix(value, "/")
		path = func(given string) bool { return given == prefix || strings.HasPrefix(given, prefix+"/") }
	}
	if match.Method != nil {
		weight += 100
	}
	return func(r *http.Request) bool {
		for _, header := range match.Headers {
			if r.Header.Get(string(header.Name)) != header.Value {
				return false
			}
		}
		return (match.Method == nil || string(*match.Method) == r.Method) && path(r.URL.EscapedPath())
	}, weight + len(match.Headers)
}
