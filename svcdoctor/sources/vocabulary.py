"""The words that say nothing about whose cluster it is.

Anonymising works by allow-lists: a word stays when it is one of Kubernetes', netfilter's or iproute2's own, or
ordinary English of an event; every other word is replaced. So a word that is missing here costs readability,
never secrecy.
"""

from __future__ import annotations


def _words(*texts: str) -> frozenset[str]:
    return frozenset(word for text in texts for word in text.split())


# Names of objects, ports, labels' values and domains that every cluster has.
NAMES = _words(
    "default kube-system kube-public kube-node-lease kubernetes kube-dns coredns kube-proxy kube-root-ca.crt",
    "kube-apiserver kube-controller-manager kube-scheduler kubelet etcd metrics-server apiserver",
    "http https http2 h2c ws wss grpc grpc-web dns dns-tcp metrics tls tcp udp sctp health healthz",
    "* svc cluster local com org net io internal in-addr ip6 arpa localhost",
    "linux windows amd64 arm64 arm s390x ppc64le true false control-plane master worker",
    "Auto auto Disabled disabled truncated warning Helm",
    "nginx traefik haproxy istio cilium contour kong gce alb",
    "endpointslice-controller.k8s.io endpointslicemirroring-controller.k8s.io endpoint-controller",
    "k8s.io/ingress-nginx traefik.io/ingress-controller kubernetes.io/h2c kubernetes.io/ws kubernetes.io/wss",
    "service.k8s.aws/nlb ingress.k8s.aws/alb",
    "ingress-nginx nginx-ingress aws-load-balancer-controller istio-ingressgateway istio-system ambient",
    "calico-node canal rke2-canal cilium anetd antrea-agent ovnkube-node kube-router weave-net aws-node azure-npm",
    "kube-network-policies kube-flannel-ds kube-flannel calico-system",
    "istio-proxy istio-init istio-validation linkerd-proxy linkerd-init",
    "all-authenticated all-unauthenticated cluster-authenticated cluster-unauthenticated",
)

# Label keys without a domain that say nothing; and the domains whose keys are Kubernetes' own.
LABEL_KEYS = _words(
    "app k8s-app component tier role name version release chart heritage run provider job-name controller-uid",
    "pod-template-hash controller-revision-hash pod-template-generation",
)
LABEL_DOMAINS = _words(
    "kubernetes.io app.kubernetes.io node.kubernetes.io topology.kubernetes.io beta.kubernetes.io",
    "service.kubernetes.io endpointslice.kubernetes.io endpoints.kubernetes.io apps.kubernetes.io",
    "batch.kubernetes.io statefulset.kubernetes.io node-role.kubernetes.io discovery.k8s.io",
    "ingressclass.kubernetes.io failure-domain.beta.kubernetes.io gateway.networking.k8s.io svcdoctor.io",
    "networking.k8s.io target-health.elbv2.k8s.aws cloud.google.com nginx.ingress.kubernetes.io istio.io",
    "config.linkerd.io",
)
LABEL_NAMES = _words(
    "name instance version component part-of managed-by created-by metadata.name hostname os arch zone region",
    "instance-type service-name headless skip-mirror service-proxy-name pod-name pod-index job-name controller-uid",
    "job-completion-index control-plane master worker topology-mode topology-aware-hints over-capacity",
    "ingress.class is-default-class exclude-from-external-load-balancers exclude-disruption",
    "canary use-regex dataplane-mode gateway-name default-inbound-policy",
)
# Keys whose values are small numbers that Kubernetes counts.
COUNTED_VALUES = _words(
    "apps.kubernetes.io/pod-index batch.kubernetes.io/job-completion-index pod-template-generation",
)

# Values of the API's enumerations (API reference).
ENUMS = _words(
    "TCP UDP SCTP HTTP HTTPS TLS IPv4 IPv6 FQDN ClusterIP NodePort LoadBalancer ExternalName None ClientIP",
    "Cluster Local VIP Proxy SingleStack PreferDualStack RequireDualStack PreferClose PreferSameZone",
    "PreferSameNode True False Unknown Running Pending Succeeded Failed Always Never OnFailure ClusterFirst",
    "ClusterFirstWithHostNet Default Ingress Egress In NotIn Exists DoesNotExist Exact Prefix PathPrefix",
    "RegularExpression ImplementationSpecific InternalIP ExternalIP InternalDNS ExternalDNS Hostname IPAddress",
    "NamedAddress Normal Warning Auto Disabled RollingUpdate OnDelete Same All Selector",
    "STRICT PERMISSIVE DISABLE UNSET",
    "GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH RequestRedirect URLRewrite RequestMirror",
    "RequestHeaderModifier ResponseHeaderModifier ExtensionRef CORS",
)

# Groups and kinds that references name.
GROUPS = _words(
    "core apps batch networking.k8s.io discovery.k8s.io gateway.networking.k8s.io extensions policy",
    "security.istio.io",
)
REFERENCE_KINDS = _words(
    "CronJob Secret Rollout PersistentVolumeClaim HorizontalPodAutoscaler Lease ServiceAccount",
)

# English of the messages of kubelet, scheduler, controllers and kube-proxy's comments.
ENGLISH = _words(
    "a about accept accepted access active address addresses after against all allocatable allocated already an",
    "and any are as assigned at attempt attempts available back-off backoff be because been before being",
    "besteffort between but by cache calico can canceled cannot cause cgroup check client closed cluster",
    "clusterip clusterips cni code command complete completed condition configmap configuration conflict connect",
    "connection container containers control controller copied cpu crashed create created creating",
    "crashloopbackoff currently deadline debug decision delete deleted deleting denied deployment destination",
    "destinations dial did died different disk does down drain drop dropped due during each endpoint endpoints",
    "enforced error errors event evicted exceeded exec executing existing exists exit exited expected external",
    "externalip externally-visible fail failed failing failure fatal field file fit for forbidden forward",
    "forwarding free from get got grace group had hairpin has have headers health healthy host hostname http https",
    "i/o id if ignored image in incoming init initialized insufficient internal invalid io ip ips is issue it its",
    "job jump kill killed killing kube-proxy kubelet kubernetes last limit limits liveness load loadbalancer",
    "loadbalancersourceranges local localnet lock lookup lost machine main marked masquerade match matched maximum",
    "memory message method mismatch missing mount mounted mountvolume.setup must name namespace need network new",
    "next no node node(s) nodeport nodeports nodes none normal not note notready now number object observed of on",
    "once only oom or other out over packets path peer pending period permission pid pod pod(s) pods policy poll",
    "port portals ports postrouting preempted preemption present pressure probe process processing protocol proxy",
    "pull pulled pulling queue quota rate reached read readiness ready reason reasons received reconcile recreate",
    "refused registered reject rejected related released removed replaced replica replicas replicaset request",
    "requested requests requiring reset resource resources response restart restarted restarting result retry",
    "retries route routes rpc rule rules running runtime sandbox scale scaled scheduled scheduler schedulable",
    "secret server service services set setup short-circuit should shutdown signal since size skipped slow snat",
    "socket source spec start started starting startup state statefulset status statuscode step still stop stopped",
    "stopping subject subnet succeeded success successful successfully such sufficient sync synced syncing taint",
    "taints target tcp template terminated terminating termination than that the them then there this through time",
    "timed timeout to tolerate toleration too total traffic transport try trying type udp unable unallocated",
    "unauthorized unavailable under unexpected unhealthy unknown unreachable unschedulable until up update updated",
    "updating upgrade usage use used user using valid value verdict version vmap volume volumes wait waiting want",
    "warning was were when where which while will with within without write wrong yet zone",
    "accepting awaiting balancer block chain cni connections conntrack deprecated detected dnat dst firewall future",
    "information lb migrate more outside please plugin portmap posting release returned snat src support across",
    "unmounted attached list initialization completely mode flag nor exceeds long than cni0 config uninitialized",
    "multi-attach api attach back bind binding budget calculate call class config crash detach disrupted divide",
    "driver egress eligible enough enqueue ensure ensured ensuring err evict eviction expand finished forced gate",
    "generate hook identity inspect instance lease legacy limited locked loop nonexistent never off owner parsed",
    "preempt preempting progress progressing programmed prune references rescheduled resolve resolved reused",
    "rollout rollback rolled rotate saturated scaling scheduling scheme shut size sidecar startup sync tracked",
    "initializing minimum box slice slices dns forming capacity ref refs matching parent listener permitted kind",
    "gates paused pre v kube readyz flannel disruption sand has",
    "transition unsupported unhealthy verify volume waited backend listeners supported schedule oomkilled",
)

# netfilter, iproute2, ss, conntrack, ipset and ipvsadm: keywords, built-in chains, kube-proxy's own chains.
NETFILTER = _words(
    "PREROUTING INPUT FORWARD OUTPUT POSTROUTING ACCEPT DROP RETURN REJECT MARK DNAT SNAT MASQUERADE REDIRECT",
    "NOTRACK CT LOG NFLOG TPROXY TRACE CONNMARK TCPMSS CHECKSUM ULOG SYNPROXY HL TTL BALANCE COMMIT QUEUE",
    "raw mangle nat filter security kube-proxy ip ip6 inet arp bridge netdev",
    "KUBE-SERVICES KUBE-EXTERNAL-SERVICES KUBE-NODEPORTS KUBE-POSTROUTING KUBE-MARK-MASQ KUBE-MARK-DROP",
    "KUBE-FORWARD KUBE-FIREWALL KUBE-PROXY-FIREWALL KUBE-PROXY-CANARY KUBE-KUBELET-CANARY KUBE-IPTABLES-HINT",
    "KUBE-LOAD-BALANCER KUBE-NODE-PORT KUBE-IPVS-FILTER KUBE-IPVS-OUT-FILTER KUBE-SOURCE-RANGES-FIREWALL",
    "KUBE-CLUSTER-IP KUBE-EXTERNAL-IP KUBE-EXTERNAL-IP-LOCAL KUBE-LOAD-BALANCER-LOCAL KUBE-LOAD-BALANCER-FW",
    "KUBE-LOAD-BALANCER-SOURCE-IP KUBE-LOAD-BALANCER-SOURCE-CIDR KUBE-NODE-PORT-TCP KUBE-NODE-PORT-UDP",
    "KUBE-NODE-PORT-SCTP-HASH KUBE-NODE-PORT-LOCAL-TCP KUBE-NODE-PORT-LOCAL-UDP KUBE-LOOP-BACK KUBE-IPVS-IPS",
    "KUBE-NODE-PORT-LOCAL-SCTP-HASH KUBE-HEALTH-CHECK-NODE-PORT",
    "KUBE-6-CLUSTER-IP KUBE-6-EXTERNAL-IP KUBE-6-EXTERNAL-IP-LOCAL KUBE-6-LOAD-BALANCER KUBE-6-LOOP-BACK",
    "KUBE-6-LOAD-BALANCER-LOCAL KUBE-6-LOAD-BALANCER-FW KUBE-6-LOAD-BALANCER-SOURCE-IP KUBE-6-IPVS-IPS",
    "KUBE-6-LOAD-BALANCER-SOURCE-CID KUBE-6-NODE-PORT-TCP KUBE-6-NODE-PORT-UDP KUBE-6-NODE-PORT-SCTP-HASH",
    "KUBE-6-NODE-PORT-LOCAL-TCP KUBE-6-NODE-PORT-LOCAL-UDP KUBE-6-NODE-PORT-LOCAL-SCTP-HAS",
    "KUBE-6-HEALTH-CHECK-NODE-PORT ct_state_invalid_dropped_pkts localhost_nps_accepted_pkts",
    "iptables_proxy_invalid_dropped_pkts",
    "filter-prerouting-pre-dnat filter-output-pre-dnat filter-input filter-forward filter-output nat-prerouting",
    "nat-output nat-postrouting services nodeports masquerading mark-for-masquerade firewall-check reject-chain",
    "endpoints-check service-endpoints-check nodeport-endpoints-check cluster-ips-check drop-chain",
    "filter-input-pre-dnat filter-prerouting filter-forward-pre-dnat firewall",
    "cluster-ips nodeport-ips service-ips service-nodeports no-endpoint-services no-endpoint-nodeports",
    "firewall-ips hairpin-connections",
    "DOCKER DOCKER-USER DOCKER-FORWARD DOCKER-ISOLATION-STAGE-1 DOCKER-ISOLATION-STAGE-2 FLANNEL-FWD",
    "FLANNEL-POSTRTG CNI-FORWARD CNI-ADMIN CNI-HOSTPORT-DNAT CNI-HOSTPORT-MASQ CNI-HOSTPORT-SETMARK",
    "cali-FORWARD cali-INPUT cali-OUTPUT cali-PREROUTING cali-POSTROUTING cali-nat-outgoing IP-MASQ-AGENT",
    "CILIUM_FORWARD CILIUM_INPUT CILIUM_OUTPUT CILIUM_POST_nat CILIUM_PRE_nat CILIUM_OUTPUT_nat",
    "AWS-SNAT-CHAIN-0 AWS-SNAT-CHAIN-1 AWS-CONNMARK-CHAIN-0 KIND-MASQ-AGENT",
    "tcp udp sctp icmp icmpv6 ipv6-icmp ah esp gre udplite dccp all any ipv4 ipv6 l4proto nfproto th",
    "comment conntrack mark addrtype statistic recent nfacct set physdev multiport iprange limit rpfilter owner",
    "socket state connmark hashlimit string length mac tos ttl bpf dst src LOCAL UNICAST BROADCAST MULTICAST",
    "ANYCAST BLACKHOLE UNREACHABLE PROHIBIT NEW ESTABLISHED RELATED INVALID UNTRACKED DNAT SNAT NONE",
    "SYN ACK FIN RST URG PSH ALL ORIGINAL REPLY random nth",
    "icmp-port-unreachable icmp6-port-unreachable icmp-host-prohibited icmp-net-unreachable tcp-reset",
    "icmp-host-unreachable icmp-admin-prohibited icmp6-adm-prohibited icmp-proto-unreachable port-unreachable",
    "admin-prohibited host-unreachable no-route icmpx srcip dstip sec second minute hour day",
    "accept drop reject return jump goto continue queue dnat snat masquerade redirect vmap map counter quota",
    "packets bytes handle family table chain name type hook prio policy expr match op left right payload",
    "protocol field meta key concat elem val data timeout size flags fib result numgen mode mod offset ct",
    "prefix addr len range rule xt value target input output forward prerouting postrouting ingress egress",
    "saddr daddr sport dport iifname oifname iif oif status original reply fully-random persistent verdict",
    "ipv4_addr ipv6_addr inet_proto inet_service ether_addr ifname ifname_type in new established related",
    "invalid untracked assured snat dnat confirmed timeout interval constant dynamic auto-merge local unicast",
    "broadcast multicast update add delete none insert xor inc random jhash symhash elements stmt notrack",
    "state id skuid skgid cgroup rt exthdr tproxy synproxy log level group prefix dup fwd comment ether vlan",
    "vmap mark iiftype oiftype direction proto-src proto-dst src dst helper zone expiration bytecode",
    "default dev via metric proto kernel boot static scope link host global src pref medium low high onlink from",
    "lookup main fwmark table unreachable blackhole prohibit throw linkdown dead proto ra dhcp bird zebra",
    "advmss mtu hoplimit expires cache error priority iif oif suppress_prefixlength nexthop weight dsfield",
    "redirect nhid encap inet6 valid_lft preferred_lft forever noprefixroute secondary deprecated tentative",
    "BROADCAST MULTICAST UP LOWER_UP LOOPBACK POINTOPOINT NOARP PROMISC MASTER SLAVE NO-CARRIER M-DOWN DYNAMIC",
    "UNKNOWN DOWN noqueue noop mq fq fq_codel pfifo_fast qdisc ether loopback tunnel tunnel6 sit ipip gre6 vxlan",
    "veth dummy bridge_slave wireguard bond vlan macvlan ipvlan ipvs none",
    "REACHABLE STALE PERMANENT DELAY PROBE FAILED INCOMPLETE NOARP router extern_learn lladdr",
    "LISTEN UNCONN ESTAB TIME-WAIT CLOSE-WAIT SYN-SENT SYN-RECV FIN-WAIT-1 FIN-WAIT-2 LAST-ACK CLOSING CLOSE",
    "users pid fd Netid State Recv-Q Send-Q Local Peer Address:Port Process Address",
    "systemd sshd systemd-resolve systemd-network kubelet kube-proxy containerd dockerd crio etcd",
    "kube-apiserver kube-scheduler kube-controller haproxy nginx envoy coredns node_exporter cilium-agent",
    "calico-node flanneld bird rpcbind chronyd ntpd keepalived node-cache",
    "TIME_WAIT CLOSE_WAIT SYN_SENT SYN_RECV FIN_WAIT LAST_ACK UNREPLIED ASSURED HW_OFFLOAD OFFLOAD use",
    "create hash:ip hash:net hash:ip,port hash:ip,port,ip hash:ip,port,net bitmap:port hashsize maxelem",
    "bucketsize initval nomatch forceadd counters skbinfo",
    "rr wrr lc wlc sh dh sed nq mh lblc lblcr Masq Route Tunnel Local ops RemoteAddress:Port Forward Weight",
    "ActiveConn InActConn Prot LocalAddress:Port Scheduler Flags IP Virtual Server version",
    "nameserver search options ndots attempts rotate single-request edns0 use-vc trust-ad domain",
    "Generated Completed by on iptables-save ip6tables-save Warning",
)

# CoreDNS' plugins and their directives (CoreDNS manual).
COREDNS = _words(
    "acl any auto autopath azure bind bufsize cache cancel chaos clouddns dns64 dnssec dnstap erratic errors etcd",
    "file forward geoip grpc header health hosts import k8s_external kubernetes lameduck limits loadbalance local",
    "log loop metadata minimal multisocket nsid pprof prometheus quic ready reload rewrite root route53",
    "secondary sign template timeouts tls trace transfer tsig view whoami pods insecure verified disabled",
    "fallthrough ttl endpoint endpoint_pod_names namespaces labels namespace_labels noendpoints zonal ignore",
    "empty_service max_concurrent policy random round_robin sequential health_check force_tcp prefer_udp expire",
    "max_fails tls_servername except to from stop continue name exact prefix suffix substring regex answer",
    "class type ttl edns0 success denial prefetch serve_stale disable no_reverse kubeapi IN A AAAA CNAME TXT PTR",
    "SRV MX NS SOA ANY NXDOMAIN NOERROR SERVFAIL rcode additional authority match stubzones upstream path zone",
    "all . { } in-addr.arpa ip6.arpa cluster.local /etc/resolv.conf /etc/hosts /etc/coredns consolidate immediate",
    "startup_timeout duration verify validate next auto dns tcp udp block allow filter drop net",
)

# Settings of a KubeProxyConfiguration whose value is a word or a duration.
PROXY_WORDS = _words(
    "apiVersion kind mode detectLocalMode configSyncPeriod portRange scheduler syncPeriod minSyncPeriod",
    "tcpTimeout tcpFinTimeout udpTimeout udpStreamTimeout tcpEstablishedTimeout tcpCloseWaitTimeout",
)

INTERFACES = _words("lo cni0 docker0 kube-ipvs0 cilium_host cilium_net cilium_vxlan tunl0 weave antrea-gw0")
# Interface names that are a known stem and a number, or a known stem and a hash of a pod.
INTERFACE_NUMBERED = r"(?:eth|ens|eno|enp\d+s|bond|wg|flannel\.|vxlan\.|vxlan|br|kube-bridge|wlan)\d{1,4}"
INTERFACE_HASHED = r"(veth|cali|lxc|eni|gke|azv|tap|vnet|br-|cilium)([0-9a-z_]+)"
