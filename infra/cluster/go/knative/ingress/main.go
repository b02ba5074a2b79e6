// Ingress is what Knative Serving needs of a network layer, and what the public entry needs of the Gateway API, for
// one node: HTTP/1.1 in the clear, no TLS, no HTTP/2.
//
// It follows Knative's Ingresses of one class and all HTTPRoutes, and marks them ready.
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"net/http"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	networking "knative.dev/networking/pkg/client/clientset/versioned"
	networkinginformers "knative.dev/networking/pkg/client/informers/externalversions"
	gateway "sigs.k8s.io/gateway-api/pkg/client/clientset/versioned"
	gatewayinformers "sigs.k8s.io/gateway-api/pkg/client/informers/externalversions"
)

// Longer than the endpoints of this pod take to vanish from kube-proxy's rules.
const drain = 5 * time.Second

func main() {
	public := flag.String("public", ":8000", "listener for what comes from outside")
	private := flag.String("private", ":8080", "listener for what comes from inside the cluster")
	class := flag.String("class", "", "the class of Knative's Ingresses that are meant")
	publicService := flag.String("public-service", "", "DNS name of the Service before the public listener")
	privateService := flag.String("private-service", "", "DNS name of the Service before the private listener")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	config, err := rest.InClusterConfig()
	if err != nil {
		log.Fatal(err)
	}
	config.QPS, config.Burst = 50, 100
	watch := watcher{
		class: *class, publicService: *publicService, privateService: *privateService,
		networking: networking.NewForConfigOrDie(config), gateway: gateway.NewForConfigOrDie(config),
		changed: make(chan struct{}, 1),
	}
	watch.public.Store(&table{})
	watch.private.Store(&table{})
	watch.start(ctx)
	go watch.follow(ctx)

	servers := []*http.Server{serve(*public, &watch.public, false), serve(*private, &watch.private, true)}
	<-ctx.Done()
	time.Sleep(drain)
	for _, server := range servers {
		_ = server.Shutdown(context.Background())
	}
}

func (w *watcher) start(ctx context.Context) {
	knative := networkinginformers.NewSharedInformerFactory(w.networking, 0)
	routes := gatewayinformers.NewSharedInformerFactory(w.gateway, 0)
	w.ingresses = knative.Networking().V1alpha1().Ingresses()
	w.routes = routes.Gateway().V1().HTTPRoutes()
	for _, informer := range []cache.SharedIndexInformer{w.ingresses.Informer(), w.routes.Informer()} {
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { w.poke() },
			UpdateFunc: func(any, any) { w.poke() },
			DeleteFunc: func(any) { w.poke() },
		}); err != nil {
			log.Fatal(err)
		}
	}
	knative.Start(ctx.Done())
	routes.Start(ctx.Done())
	knative.WaitForCacheSync(ctx.Done())
	routes.WaitForCacheSync(ctx.Done())
	w.poke()
}

func serve(address string, routes *atomic.Pointer[table], inside bool) *http.Server {
	server := &http.Server{Addr: address, Handler: proxy(routes, inside), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			log.Fatal(err)
		}
	}()
	return server
}
