/* shop.c: a simulated shop; see shop.h. */
#include "math/shop.h"

#define MAX_CENTS 1e15

/*
 * Draws customer `number` of a shop that is open for `days`: the first order
 * falls uniformly into them. A customer depends on the seed and the number
 * only, so more customers leave the first ones as they were.
 */
void
shop_customer(ShopCustomer *customer, const ShopParameters *shop,
			  uint64_t seed, int64_t number, double days)
{
	random_seed(&customer->stream, seed, (uint64_t) number);
	shop->model->draw(shop->model, shop->purchase, &customer->stream, &customer->drawn);
	customer->spend_rate = random_gamma(&customer->stream, shop->spend[1], shop->spend[2]);
	customer->p = shop->spend[0];
	customer->day = random_uniform(&customer->stream) * days;
	customer->end = customer->day + customer->drawn.lifetime;
	customer->repeat = false;
}

static int64_t
draw_cents(ShopCustomer *customer)
{
	double		cents =
		100 * random_gamma(&customer->stream, customer->p, customer->spend_rate) + 0.5;

	if (!(cents < MAX_CENTS))
		return (int64_t) MAX_CENTS;
	return cents < 1 ? 1 : (int64_t) cents;
}

/* Tells whether the customer, who has just bought, never does so again. */
static bool
leaves(ShopCustomer *customer)
{
	const DrawnCustomer *drawn = &customer->drawn;

	return drawn->dropout > 0 && (customer->repeat || drawn->drops_at_once) &&
		random_uniform(&customer->stream) < drawn->dropout;
}

/* Gives the customer's next order before the shop's last day; false when there is none. */
bool
shop_next_order(ShopCustomer *customer, double days, ShopOrder *order)
{
	if (!(customer->day < days))
		return false;
	order->day = customer->day;
	order->cents = draw_cents(customer);
	customer->day = leaves(customer) ? days :
		customer->day + random_exponential(&customer->stream, customer->drawn.rate);
	if (customer->day > customer->end)
		customer->day = days;
	customer->repeat = true;
	return true;
}
