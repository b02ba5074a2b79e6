package main

import (
	"context"
	"log"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gateway "sigs.k8s.io/gateway-api/pkg/client/clientset/versioned"
	gatewayinformers "sigs.k8s.io/gateway-api/pkg/client/informers/externalversions/apis/v1"

	"knative.dev/networking/pkg/apis/networking"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	clientset "knative.dev/networking/pkg/client/clientset/versioned"
	informers "knative.dev/networking/pkg/client/informers/externalversions/networking/v1alpha1"
)

const controller = "chat4all.dev/one-node"

type watcher struct {
	class, publicService, privateService string

	networking clientset.Interface
	gateway    gateway.Interface
	ingresses  informers.IngressInformer
	routes     gatewayinformers.HTTPRouteInformer
	changed    chan struct{}

	public, private atomic.Pointer[table]
}

func (w *watcher) poke() {
	select {
	case w.changed <- struct{}{}:
	default: // it will look anyway
	}
}

// Tables first, status after: who is told that a route is ready finds it.
func (w *watcher) follow(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.changed:
		}
		ingresses, err := w.ingresses.Lister().List(labels.Everything())
		if err != nil {
			log.Print(err)
			continue
		}
		routes, err := w.routes.Lister().List(labels.Everything())
		if err != nil {
			log.Print(err)
			continue
		}
		ingresses = mine(ingresses, w.class)
		w.route(ingresses, routes)
		for _, one := range ingresses {
			w.markIngress(ctx, one)
		}
		for _, one := range routes {
			w.markRoute(ctx, one)
		}
	}
}

func mine(all []*v1alpha1.Ingress, class string) []*v1alpha1.Ingress {
	var found []*v1alpha1.Ingress
	for _, one := range all {
		if one.Annotations[networking.IngressClassAnnotationKey] == class && one.DeletionTimestamp == nil {
			found = append(found, one)
		}
	}
	return found
}

func (w *watcher) route(ingresses []*v1alpha1.Ingress, routes []*gatewayv1.HTTPRoute) {
	public, private := table{}, table{}
	for _, ingress := range ingresses {
		for _, rule := range ingress.Spec.Rules {
			if rule.Visibility == v1alpha1.IngressVisibilityClusterLocal {
				private.addRule(rule)
			} else {
				public.addRule(rule)
			}
		}
	}
	for _, one := range routes {
		public.addRoute(one)
	}
	public.sort()
	private.sort()
	w.public.Store(&public)
	w.private.Store(&private)
}

func (w *watcher) markIngress(ctx context.Context, of *v1alpha1.Ingress) {
	ingress := of.DeepCopy()
	ingress.Status.InitializeConditions()
	ingress.Status.MarkNetworkConfigured()
	ingress.Status.MarkLoadBalancerReady(
		[]v1alpha1.LoadBalancerIngressStatus{{DomainInternal: w.publicService}},
		[]v1alpha1.LoadBalancerIngressStatus{{DomainInternal: w.privateService}},
	)
	ingress.Status.ObservedGeneration = ingress.Generation
	if equality.Semantic.DeepEqual(of.Status, ingress.Status) {
		return
	}
	client := w.networking.NetworkingV1alpha1().Ingresses(ingress.Namespace)
	if _, err := client.UpdateStatus(ctx, ingress, metav1.UpdateOptions{}); err != nil {
		log.Printf("status of %s: %v", ingress.Name, err) // its next version comes by the watch
	}
}

func (w *watcher) markRoute(ctx context.Context, of *gatewayv1.HTTPRoute) {
	httpRoute := of.DeepCopy()
	parents := httpRoute.Status.Parents
	httpRoute.Status.Parents = nil
	for i, reference := range httpRoute.Spec.ParentRefs {
		parent := gatewayv1.RouteParentStatus{ParentRef: reference, ControllerName: controller}
		if i < len(parents) {
			parent.Conditions = parents[i].Conditions
		}
		for _, condition := range []gatewayv1.RouteConditionType{
			gatewayv1.RouteConditionAccepted, gatewayv1.RouteConditionResolvedRefs,
		} {
			meta.SetStatusCondition(&parent.Conditions, metav1.Condition{
				Type: string(condition), Status: metav1.ConditionTrue, Reason: string(condition),
				ObservedGeneration: httpRoute.Generation,
			})
		}
		httpRoute.Status.Parents = append(httpRoute.Status.Parents, parent)
	}
	if equality.Semantic.DeepEqual(of.Status, httpRoute.Status) {
		return
	}
	client := w.gateway.GatewayV1().HTTPRoutes(httpRoute.Namespace)
	if _, err := client.UpdateStatus(ctx, httpRoute, metav1.UpdateOptions{}); err != nil {
		log.Printf("status of %s: %v", httpRoute.Name, err)
	}
}
