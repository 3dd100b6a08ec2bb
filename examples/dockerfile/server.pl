# Answers any request with a line about it. Anything that listens on $PORT will do; Perl's core is in
# every Debian image.
use strict;
use warnings;
use IO::Socket::INET;

# The first process of a container must handle SIGTERM itself, or it is killed only after a while.
$SIG{TERM} = sub { exit 0 };
$SIG{PIPE} = 'IGNORE';    # a client that has gone away ends its own request only
$SIG{CHLD} = 'IGNORE';    # ended children are not waited for

my $port     = $ENV{PORT} // 8080;
my $listener = IO::Socket::INET->new(LocalAddr => '0.0.0.0', LocalPort => $port, Listen => 64, ReuseAddr => 1)
    or die "can't listen on port $port: $!\n";

while (1) {
    my $client = $listener->accept or next;    # a signal may end the call without a client
    my $child  = fork // die "can't fork: $!\n";
    next if $child;
    serve($client);
    exit 0;
}

# Reads one request, and answers it.
sub serve {
    my ($client) = @_;
    my $request = <$client> // return;
    my $length  = 0;
    while (my $header = <$client>) {
        last if $header eq "\r\n";
        $length = $1 if $header =~ /^content-length:\s*(\d+)/i;
    }
    my $received = 0;
    while ($received < $length) {
        $received += read($client, my $part, 65536 < $length - $received ? 65536 : $length - $received) || return;
    }
    my ($method, $path) = split ' ', $request;
    my $answer = "$method $path, $received bytes, from Perl\n";
    print $client "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n",
        'Content-Length: ', length $answer, "\r\n\r\n", $answer;
}
