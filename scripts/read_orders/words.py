"""What columns, kinds, statuses and currencies are called."""

import re
import unicodedata

# The names that columns have, those to prefer first; small letters and digits, see plain_name.
NAMES = {
    'customer_id': '''customerid customerkey customernumber customerno clientid clientnumber userid
        buyerid buyeruserid contactid kundennummer kundennr kundenid idclient numeroclient idklienta
        email customeremail emailaddress useremail buyeremail adresseemail
        customer client user buyer kunde klient''',
    'order_id': '''orderid ordernumber orderno ordernr ordername amazonorderid order bestellnummer
        bestellnr bestellid auftragsnummer auftragsnr belegnummer belegnr transactionid
        invoicenumber invoiceno invoiceid invoice receiptid rechnungsnummer rechnungsnr
        numerocommande numerodecommande ncommande idcommande numerzamowienia nrzamowienia
        idzamowienia''',
    'ordered_at': '''orderedat orderdate orderedon orderdatetime ordertime createdat created
        purchasedate purchasedat saledate invoicedate transactiondate eventdate datetime timestamp
        date bestelldatum bestelltam rechnungsdatum belegdatum auftragsdatum datum datecommande
        datedecommande datazamowienia paidat data''',
    'amount': '''amount ordertotal orderamount ordertotalamount totalamount totalprice grandtotal
        total value $value revenue gross gesamtbetrag gesamtsumme betrag gesamt bruttobetrag brutto
        nettowert summe umsatz montant montanttotal totalttc montantttc kwota wartosc
        wartosczamowienia itemtotal itemprice''',
    'kind': 'kind transactiontype ordertype type art typ',
    'status': '''status orderstatus financialstatus paymentstatus bestellstatus statut
        statuszamowienia''',
    'currency': 'currency currencycode ordercurrency ordercurrencycode $currency waehrung wahrung '
                'devise waluta',
    'refunded': '''refundedamount orderrefundamount refundamount amountrefunded totalrefunded
        refundtotal refunded refund refunds erstattet''',
    'time': 'time ordertime createdtime saletime timeofday uhrzeit zeit heure godzina',
    'zone': 'timezone',
    'cancelled': 'cancelledat canceledat cancelleddate canceldate cancelled canceled storniertam',
    'test': 'test istest testorder',
}
REQUIRED = ('customer_id', 'ordered_at', 'amount')

# Exports that are known by their columns: those they must have, and which has what.
# per_order: the amount is the order's, not the row's; events: only this word in the column kind
# counts; payer: who has a refund's money.
PRESETS = (
    {'name': 'Shopify orders export', 'needs': 'name email financialstatus total createdat',
     'per_order': True,
     'columns': {'customer_id': 'email', 'order_id': 'name', 'ordered_at': 'createdat',
                 'amount': 'total', 'status': 'financialstatus', 'currency': 'currency',
                 'refunded': 'refundedamount', 'cancelled': 'cancelledat'}},
    {'name': 'WooCommerce orders export', 'per_order': True,
     'needs': 'ordernumber orderstatus orderdate ordertotalamount',
     'columns': {'customer_id': 'customeremail customeruserid', 'order_id': 'ordernumber',
                 'ordered_at': 'orderdate', 'amount': 'ordertotalamount', 'status': 'orderstatus',
                 'currency': 'ordercurrency currency', 'refunded': 'orderrefundamount'}},
    {'name': 'Klaviyo events', 'needs': 'eventdate $value', 'events': 'placed order',
     'columns': {'customer_id': 'email customeremail', 'order_id': 'orderid',
                 'ordered_at': 'eventdate', 'amount': '$value',
                 'kind': 'metricname metric eventname event', 'currency': '$currency'}},
    {'name': 'Stripe payments export', 'per_order': True,
     'needs': 'id createdutc amount amountrefunded status',
     'columns': {'customer_id': 'customeremail customerid', 'order_id': 'id',
                 'ordered_at': 'createdutc', 'amount': 'amount', 'status': 'status',
                 'currency': 'currency', 'refunded': 'amountrefunded', 'test': 'mode'}},
    {'name': 'PayPal activity export', 'payer': 'toemailaddress',
     'needs': 'date type status gross fromemailaddress transactionid',
     'columns': {'customer_id': 'fromemailaddress', 'order_id': 'transactionid',
                 'ordered_at': 'date', 'time': 'time', 'zone': 'timezone', 'amount': 'gross',
                 'kind': 'type', 'status': 'status', 'currency': 'currency'}},
    {'name': 'Magento orders export', 'per_order': True,
     'needs': 'id purchasedate grandtotalpurchased status',
     'columns': {'customer_id': 'customeremail', 'order_id': 'id', 'ordered_at': 'purchasedate',
                 'amount': 'grandtotalpurchased', 'status': 'status', 'refunded': 'totalrefunded'}},
    {'name': 'BigCommerce orders export', 'per_order': True,
     'needs': 'orderid orderstatus orderdate ordertotalinctax',
     'columns': {'customer_id': 'customeremail customerid', 'order_id': 'orderid',
                 'ordered_at': 'orderdate', 'time': 'ordertime', 'amount': 'ordertotalinctax',
                 'status': 'orderstatus', 'currency': 'ordercurrencycode currencycode',
                 'refunded': 'refundamount refundedamount'}},
    {'name': 'Etsy orders export', 'needs': 'saledate orderid ordertotal', 'per_order': True,
     'columns': {'customer_id': 'buyeruserid buyer', 'order_id': 'orderid',
                 'ordered_at': 'saledate', 'amount': 'ordertotal', 'currency': 'currency'}},
)

# What words in the columns kind and status mean; none does not count.
KIND_WORDS = {
    'order': 'order|sale|sales|sold|purchase|charge|invoice|placed order|shop order|payment|'
             'express checkout payment|website payment|mobile payment|checkout payment|'
             'preapproved payment bill user payment|verkauf|kauf|bestellung|rechnung|vente|'
             'commande|venta|pedido|zamówienie|sprzedaż',
    'refund': 'refund|refunded|return|returned|credit|credit note|credit memo|chargeback|reversal|'
              'shop order refund|payment refund|payment reversal|erstattung|rückerstattung|'
              'gutschrift|retoure|remboursement|avoir|reembolso|devolución|zwrot',
    'none': 'cancelled|canceled|cancelled order|void|voided|failed|pending|draft|quote|test|storno|'
            'storniert|general withdrawal|general currency conversion|payout|fee|transfer',
}
STATUS_WORDS = {
    'order': 'completed|complete|paid|processing|shipped|partially shipped|unshipped|delivered|'
             'shipped delivered to buyer|shipped picked up|fulfilled|closed|partially refunded|'
             'partially paid|success|succeeded|successful|captured|done|awaiting fulfillment|'
             'awaiting shipment|awaiting pickup|abgeschlossen|bezahlt|versendet|versandt|geliefert|'
             'payé|payée|terminé|terminée|expédié|expédiée|livré|livrée|'
             'opłacone|zrealizowane|wysłane|dostarczone',
    'none': 'cancelled|canceled|failed|refunded|pending|void|voided|unpaid|declined|denied|expired|'
            'draft|checkout draft|trash|abandoned|incomplete|on hold|holded|fraud|authorized|'
            'pending payment|payment review|awaiting payment|requires payment method|'
            'requires action|storniert|erstattet|offen|annulé|annulée|remboursé|remboursée|'
            'en attente|échoué|échouée|anulowane|zwrócone|nieopłacone|oczekujące',
}
# What a column of yes or no, or of a time, has where it says no.
NO_FLAG = {'', '0', 'no', 'n', 'false', 'f', 'nein', 'non', 'nie', 'live', 'null', '-',
           '0000-00-00', '0000-00-00 00:00:00'}
NO_KEY = frozenset({'', 'null', '(null)', '\\n', 'nan', 'none', 'n/a', '#n/a', 'undefined', 'guest',
                    '-'})
TOTALS = re.compile(r'''
    ((grand\ |sub|sub-)?totals?(\ (amount|sales|orders))? | sum | overall
    | (gesamt|end|zwischen)?summen? | (gesamt|ins)gesamt | gesamt
    | (sous-)?total\ (g[eé]n[eé]ral|général) | sous-total | somme | totaux
    | razem | suma | suma\ końcowa | łącznie | ogółem | totale | totaal | celkem)
    (\s*\(.*\))? \s* :? \s*''', re.I | re.X)

DOLLARS = frozenset('USD CAD AUD NZD HKD SGD MXN ARS CLP COP TWD'.split())
CROWNS = frozenset('SEK NOK DKK ISK'.split())
CODES = frozenset('''
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD
    CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP
    GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KRW KWD KYD
    KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO
    NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SOS
    SRD SSP STN SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VES VND VUV WST XAF
    XCD XOF XPF YER ZAR ZMW'''.split())
CURRENCY_SIGNS = {
    '€': {'EUR'}, 'EURO': {'EUR'}, '£': {'GBP'}, '$': DOLLARS, 'US$': {'USD'}, 'CA$': {'CAD'},
    'C$': {'CAD'}, 'A$': {'AUD'}, 'AU$': {'AUD'}, 'NZ$': {'NZD'}, 'R$': {'BRL'},
    '¥': {'JPY', 'CNY'}, '₹': {'INR'}, 'RS': {'INR', 'PKR'}, 'RS.': {'INR', 'PKR'},
    'FR': {'CHF'}, 'FR.': {'CHF'}, 'SFR.': {'CHF'}, 'KR': CROWNS, 'KR.': CROWNS,
    'ZŁ': {'PLN'}, 'KČ': {'CZK'}, 'FT': {'HUF'}, '₺': {'TRY'}, '₽': {'RUB'}, '₴': {'UAH'},
}

# Months by their first letters, in English, German, French, Polish, Spanish, Italian, Dutch.
MONTHS = {name: number for number, names in enumerate((
    'jan sty ene gen', 'feb fev lut', 'mar mrz mrt', 'apr avr kwi abr', 'may mai maj mag mei',
    'jun juin cze giu', 'jul juil lip lug', 'aug aou sie ago', 'sep wrz set',
    'oct okt paz ott out', 'nov lis', 'dec dez gru dic'), 1) for name in names.split()}

# The zones that PostgreSQL knows by these letters, where they mean one thing.
ZONES = {
    'z': '+00', 'utc': '+00', 'gmt': '+00', 'wet': '+00', 'west': '+01', 'bst': '+01', 'cet': '+01',
    'mez': '+01', 'cest': '+02', 'mesz': '+02', 'eet': '+02', 'eest': '+03', 'est': '-05',
    'edt': '-04', 'cdt': '-05', 'mst': '-07', 'mdt': '-06', 'pst': '-08', 'pdt': '-07'}


def fold(text):
    """Writes small letters without their marks: é is e, ł is l."""
    text = unicodedata.normalize('NFKD', text.lower().replace('ł', 'l').replace('ß', 'ss'))
    return ''.join(letter for letter in text if not unicodedata.combining(letter))


def plain_name(name):
    """Reduces a column's name to what is compared."""
    return re.sub(r'[^\w$]|_', '', fold(name))


def plain_word(word):
    """Reduces a kind or a status to what is compared."""
    word = unicodedata.normalize('NFC', word.strip().lower())
    return re.sub(r'[\s_-]+', ' ', re.sub(r'^wc-', '', word))


def is_total_word(value):
    return len(value) < 40 and TOTALS.fullmatch(value.strip()) is not None


def month_number(name):
    """Tells a month by its name, or None."""
    name = fold(name)
    return MONTHS.get(name[:4]) or MONTHS.get(name[:3])


def says_no(value):
    """Tells whether a field of yes or no, or of a time, says no."""
    return value.strip().lower() in NO_FLAG
